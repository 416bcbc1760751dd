"""The books of a redemption: its movements, what is in suspense, what counts on account limits."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from orchestrator.engine.definition import Definition
from orchestrator.engine.instance import Saga, Terms
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.postings import Transfer
from orchestrator.sagas.redemption import journal
from orchestrator.sagas.redemption.balance import in_suspense, issued, worth
from orchestrator.sagas.redemption.terms import RedemptionTerms


@dataclass(frozen=True, slots=True)
class RedemptionBooks:
    """What a redemption moves, for one version of its definition."""

    definition: Definition

    def transfers(self, was: Saga | None, now: Saga) -> Iterator[Transfer]:
        """The movements that a step caused."""
        return journal.transfers(self.definition, was, now)

    def stake(self, saga: Saga) -> tuple[int, str]:
        """The points that are neither consumed nor returned yet, and their unit."""
        return in_suspense(saga, self.definition), saga.terms.body.unit

    def limit(self, terms: Terms) -> LimitKey | None:
        """The account limit that the redemption counts on, if its programme has one."""
        return limit_key_of(terms)

    def reserved(self, terms: Terms) -> int:
        """What all lines are worth."""
        body: RedemptionTerms = terms.body
        return body.worth

    def counted(self, saga: Saga) -> int:
        """All that was asked for until it has ended, then what was issued and kept (I5)."""
        if not saga.ended:
            return self.reserved(saga.terms)
        return worth(saga.terms, issued(saga, self.definition.pivot))


def limit_key_of(terms: Terms) -> LimitKey | None:
    """The account limit that a redemption counts on, if its programme has one."""
    body: RedemptionTerms = terms.body
    if not body.limit or body.business_date is None:
        return None
    return (terms.key_hash, body.limit, body.business_date)
