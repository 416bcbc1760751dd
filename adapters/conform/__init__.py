"""The partners' acceptance test: acts as the platform towards a participant that is running.

The cells of `domain.md` 4.6 are data with a pure script each (`checks.py`, `scripts.py`,
`verdicts.py`). `scheduler.py` runs the scripts over a transport, Kafka (`transport.py`) or another.
"""
