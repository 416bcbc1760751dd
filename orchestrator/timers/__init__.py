"""Publishes due timers and operators' decisions as records."""
