"""The kinds of saga, bound to the policies of the participants."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Terms, verb_of
from orchestrator.engine.kind import FastPath, SagaKind
from orchestrator.engine.messages import Messages
from orchestrator.engine.policy import Policies
from orchestrator.sagas import Kinds


@dataclass(frozen=True, slots=True)
class BoundKind:
    """One version of a kind with its engine, messages and fast path, none of which hold state."""

    kind: SagaKind
    engine: Engine
    messages: Messages
    fast_path: FastPath | None


class BoundKinds:
    """All kinds that can run, found by the name and version that a saga was accepted under."""

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
        by_version = sorted(self._bound.items())  # The newest version of a kind replaces the rest.
        self.by_request: Mapping[type, BoundKind] = {
            bound.kind.intake.requested: bound for _, bound in by_version
        }
        self._forgotten = frozenset(
            verb.name
            for kind in kinds.values()
            if kind.keep_for is not None
            for verb in kind.definition.verbs()
        )

    def forgets(self, path: str) -> bool:
        """Whether a leg of that path belongs to a kind whose sagas are deleted after a while."""
        return verb_of(path) in self._forgotten

    def of(self, terms: Terms) -> BoundKind:
        """The kind, in the version that the saga was accepted under."""
        return self._bound[terms.definition, terms.definition_version]

    def __iter__(self) -> Iterator[BoundKind]:
        return iter(self._bound.values())
