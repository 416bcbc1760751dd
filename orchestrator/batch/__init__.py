"""One batch: bytes to events, events to changes, changes to records. Pure."""
