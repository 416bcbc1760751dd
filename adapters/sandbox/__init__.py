"""Simulated companies: banks, a wallet and an airline, each with its own books.

Nothing here knows the orchestrator. A company's books are an SQLite file of its own, so that a test
can compare what the platform believes with what the companies know.
"""
