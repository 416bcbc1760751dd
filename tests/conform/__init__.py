"""The partners' acceptance test: honest companies keep every promise, liars are caught."""
