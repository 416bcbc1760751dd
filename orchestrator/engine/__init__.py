"""The saga engine: values in, values out. No clock, no loop, no driver."""
