"""The wire contract: its models, its published forms, its ids."""
