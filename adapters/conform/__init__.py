"""The partners' acceptance test: plays the platform towards a participant that is running.

The cells of `domain.md` 4.6 are data with a pure script each (`cells.py`, `scripts.py`,
`verdicts.py`); how they are played on a line, Kafka or another, stands apart (`stage.py`).
"""
