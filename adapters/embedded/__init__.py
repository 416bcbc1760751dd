"""Apache Kafka and PostgreSQL as child processes, for tests, the demo and a first try."""
