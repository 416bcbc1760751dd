"""The benchmark: the bare loop and the real coordinator, on the same servers, in one run."""
