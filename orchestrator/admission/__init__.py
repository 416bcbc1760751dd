"""Whether a new saga may begin: breaker, bulkhead and rate of each participant, shared by all."""
