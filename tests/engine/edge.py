"""One edge of the walk: what happened to a saga, and what came of it."""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

from orchestrator.engine.engine import Engine
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action
from orchestrator.engine.outbox import MessageRef
from tests.engine.sums import Sums, sums

VERDICTS: Final = {"confirmed", "rejected", "cancelled"}
DECISIONS: Final = {action.value for action in Action}
Said = tuple[MessageRef, ...]


@dataclass(frozen=True, repr=False)
class Edge:
    """One event and what it did: a reply, `tick`, `withdraw`, `asked`, a person's decision ..."""

    engine: Engine
    was: Saga
    event: str
    path: str
    amount: int
    at: int
    now: Saga

    @cached_property
    def had(self) -> Sums:
        """What the saga added up to before."""
        return sums(self.was)

    @cached_property
    def has(self) -> Sums:
        """What it adds up to now."""
        return self.had if self.now.legs is self.was.legs else sums(self.now)

    def __repr__(self) -> str:
        """What happened, in a few lines."""
        what = f"{self.event} {self.path} {self.amount}".strip()
        return f"{what}\n  from {shown(self.was)}\n  to   {shown(self.now)}"


def shown(saga: Saga) -> str:
    """A saga in one line."""
    legs = []
    for leg in saga.legs:
        marks = "".join(
            [
                f" first={leg.first}" if leg.first is not None else "",
                f" claim={leg.claim}" if leg.claim is not None else "",
                " called" if leg.escalated_at else "",
                f" cancels={leg.cancels}" if leg.cancels else "",
            ]
        )
        legs.append(f"{leg.path} {leg.status} {leg.moved}/{leg.asked}{marks}")
    told = saga.told and f"{saga.told.revision} {saga.told.status} {saga.told.superseded}"
    return f"{'; '.join(legs)} | told {told}{' withdrawn' if saga.withdrawn else ''}"
