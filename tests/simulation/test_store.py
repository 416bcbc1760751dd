"""The store in memory keeps the laws that PostgreSQL keeps."""

import pytest

from orchestrator.ports import Store
from tests.laws.store import TABLES, Counts, StoreLaws
from tests.simulation.database import Database
from tests.simulation.store import MemoryStore


@pytest.fixture
def database() -> Database:
    """Empty tables."""
    return Database()


class TestMemoryStore(StoreLaws):
    """Every law of a store."""

    @pytest.fixture
    def store(self, database: Database) -> Store:
        """A process's way to the tables."""
        return MemoryStore(database)

    @pytest.fixture
    def counts(self, database: Database) -> Counts:
        """How many rows there are."""

        async def count() -> dict[str, int]:
            found = database.counts()
            return {table: found[table] for table in TABLES}

        return count
