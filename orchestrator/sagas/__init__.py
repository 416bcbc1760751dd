"""Every kind of saga that can run, by name and version.

To register a kind, add it to the tuple. An old version stays as long as rows refer to it.
"""

from __future__ import annotations

from collections import Counter
from typing import Final

from orchestrator.engine.codec import Kinds
from orchestrator.engine.definition import DefinitionError
from orchestrator.engine.kind import AccountEvent, SagaKind
from orchestrator.sagas.balance.kind import BALANCE
from orchestrator.sagas.redemption.kind import REDEMPTION

__all__ = ["KINDS", "Kinds", "registered"]


def registered(*kinds: SagaKind) -> Kinds:
    """The kinds by name and version.

    Raises:
        DefinitionError: two kinds cannot be told apart by their names, by what is asked of
            participants (ladders and leg ids go by the verb), or by the events of origins; or
            an event makes saga ids that are not those of its kind.
    """
    _check_apart("kind", [f"{kind.name} {kind.version}" for kind in kinds])
    names = {kind.name: kind for kind in kinds}.values()  # Versions of one may share all of it.
    _check_apart("verb", [verb.name for kind in names for verb in kind.definition.verbs()])
    _check_apart("answer", [kind.definition.answer for kind in names])
    events = [(kind, event) for kind in names for event in _events_of(kind)]
    _check_apart("event", [event.__name__ for _, event in events])
    for kind, event in events:
        _check_ids(kind, event)
    return {(kind.name, kind.version): kind for kind in kinds}


def _events_of(kind: SagaKind) -> list[type[AccountEvent]]:
    intake = kind.intake
    events = (intake.requested, intake.inquired, intake.withdrawn, *intake.answers)
    return [event for event in events if event is not None]


def _check_ids(kind: SagaKind, event: type[AccountEvent]) -> None:
    """The ids of sagas tell the kinds apart, so that one request id may serve several kinds."""
    own = "" if kind.name == REDEMPTION.name else kind.name  # Its ids are older than other kinds.
    if event.saga_kind != own:
        raise DefinitionError(f"{event.__name__}.saga_kind must be {own!r}, as of {kind.name}")


def _check_apart(what: str, names: list[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise DefinitionError(f"two kinds of saga have the same {what}: {', '.join(twice)}")


KINDS: Final[Kinds] = registered(REDEMPTION, BALANCE)
