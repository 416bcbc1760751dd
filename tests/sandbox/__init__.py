"""The simulated companies: every promise, every fault, any order."""
