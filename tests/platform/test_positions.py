"""The positions of the assigned partitions, as commits and rebalances change them."""

from __future__ import annotations

from orchestrator.ports import Partition, Record
from orchestrator.runtime.positions import Positions

NEW: Partition = ("uprp.citi.replies", 3)
KNOWN: Partition = ("uprp.internal", 3)


def positions() -> Positions:
    found = Positions()
    found.assign(NEW, None)
    found.assign(KNOWN, 7)
    return found


def record(partition: Partition, offset: int) -> Record:
    return Record(*partition, offset, None, None, ())


def test_a_record_below_the_position_is_redelivered() -> None:
    found = positions()
    assert [found.is_redelivered(record(KNOWN, offset)) for offset in (6, 7)] == [True, False]
    assert not found.is_redelivered(record(NEW, 0))


def test_a_commit_moves_positions_forward_only() -> None:
    found = positions()
    assert found.moves({KNOWN: 7, NEW: 2}) == {NEW: (None, 2)}
    found.advance(moves := found.moves({KNOWN: 9, NEW: 2}))
    assert moves == {KNOWN: (7, 9), NEW: (None, 2)}
    assert found.expected == {KNOWN: 9, NEW: 2}


def test_all_partitions_are_forgotten_when_they_are_given_away() -> None:
    found = positions()
    assert found.numbers == {3}
    found.clear()
    assert not found.numbers
    assert found.expected == {}
