"""A platform for each proof."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.embedded.kafka import EmbeddedKafka
from tests.harness import Platform


@pytest.fixture
def platform(kafka: EmbeddedKafka, database: str, tmp_path: Path) -> Iterator[Platform]:
    """Empty topics, an empty database, no process yet."""
    with Platform(kafka, database, tmp_path) as one:
        yield one
