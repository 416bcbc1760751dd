"""Breaker, bulkhead and rate: when a participant gets no new sagas, and who finds out."""
