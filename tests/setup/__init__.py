"""`make setup` fills its own environment and no other."""
