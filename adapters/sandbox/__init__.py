"""Simulated companies: banks, a wallet and an airline with a truth of their own.

Nothing here knows the orchestrator. What a company believes lies in its own SQLite file, so that
a test can compare what the platform believes with what the companies know.
"""
