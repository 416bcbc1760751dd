"""Apache Kafka: reading and publishing records, topics, and the clients that partners use."""
