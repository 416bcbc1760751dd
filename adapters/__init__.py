"""Everything that does input and output: Kafka, PostgreSQL, HTTP, processes, the command line."""
