"""The kinds of saga, each bound to the policies of those who take part."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Leg, Terms
from orchestrator.engine.kind import FastPath, SagaKind
from orchestrator.engine.messages import Messages
from orchestrator.engine.policy import Policies
from orchestrator.sagas import Kinds


@dataclass(frozen=True, slots=True)
class BoundKind:
    """One version of a kind: its engine, its messages and its fast path. They hold no state."""

    kind: SagaKind
    engine: Engine
    messages: Messages
    fast_path: FastPath | None


class BoundKinds:
    """Every kind that can run, found by the version that a saga was accepted under."""

    def __init__(self, kinds: Kinds, policies: Policies) -> None:
        self._bound: dict[tuple[str, int], BoundKind] = {
            version: BoundKind(
                kind,
                Engine(kind, policies),
                Messages(kind),
                kind.fast_path(policies) if kind.fast_path is not None else None,
            )
            for version, kind in kinds.items()
        }
        newest = sorted(self._bound.items())  # The last version of each name stands.
        self.by_request: Mapping[type, BoundKind] = {
            bound.kind.intake.requested: bound for _, bound in newest
        }
        self._forgotten = frozenset(
            verb.name
            for kind in kinds.values()
            if kind.keep_for is not None
            for verb in kind.definition.verbs()
        )

    def forgets(self, path: str) -> bool:
        """Whether a leg of that path belongs to sagas that are not kept: it may be gone."""
        return Leg(path, 0).verb in self._forgotten

    def of(self, terms: Terms) -> BoundKind:
        """The kind and version that the saga was accepted under."""
        return self._bound[terms.definition, terms.definition_version]

    def version(self, name: str, version: int) -> BoundKind:
        """That version of the kind of that name."""
        return self._bound[name, version]

    def __iter__(self) -> Iterator[BoundKind]:
        return iter(self._bound.values())
