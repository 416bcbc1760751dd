"""What was said is read back from the topics after the database was restored from a backup."""
