"""The main loop of a coordinator process and the tasks that run beside it."""
