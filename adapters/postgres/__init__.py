"""PostgreSQL: the store, its statements and its migrations."""
