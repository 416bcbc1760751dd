"""Apache Kafka: the way in and the way out."""
