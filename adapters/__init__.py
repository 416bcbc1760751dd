"""Everything that touches the world: Kafka, PostgreSQL, HTTP, the command line."""
