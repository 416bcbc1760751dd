"""The books of a redemption: its movements, its points in suspense, its use of account limits."""

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
    """The books of redemptions, for one version of the definition."""

    definition: Definition

    def transfers(self, was: Saga | None, now: Saga) -> Iterator[Transfer]:
        """The movements between two revisions of a redemption; `was` is None for a new one."""
        return journal.transfers(self.definition, was, now)

    def stake(self, saga: Saga) -> tuple[int, str]:
        """The points that are neither consumed nor returned yet, and their unit."""
        return in_suspense(saga, self.definition), saga.terms.body.unit

    def limit(self, terms: Terms) -> LimitKey | None:
        """The account limit that counts the redemption; None: its programme has none."""
        return limit_key_of(terms)

    def reserved(self, terms: Terms) -> int:
        """The worth of all lines, in minor units."""
        body: RedemptionTerms = terms.body
        return body.worth

    def counted(self, saga: Saga) -> int:
        """The worth of all lines until it has ended, then of what was issued and kept (I5)."""
        if not saga.ended:
            return self.reserved(saga.terms)
        return worth(saga.terms, issued(saga, self.definition.pivot))


def limit_key_of(terms: Terms) -> LimitKey | None:
    """The account limit that counts a redemption; None: its programme has none."""
    body: RedemptionTerms = terms.body
    if not body.limit or body.business_date is None:
        return None
    return (terms.key_hash, body.limit, body.business_date)
