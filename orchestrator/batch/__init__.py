"""One batch of records: bytes to events, events to changes, changes to records. Pure."""
