"""A programme for asking a balance: it shows the rules and limits of a redemption's programme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from orchestrator.engine import programme
from orchestrator.engine.programme import Needed
from orchestrator.sagas.redemption.programme import Programme as RedemptionProgramme
from schemas.values import Slug


class Programme(programme.Programme):
    """Whose points are shown, to whom, and for which redemptions."""

    saga: Literal["balance"]
    debtor: Slug
    redemption: Slug  # The programme whose rate, items and limits are shown.

    def needs(self) -> Iterator[Needed]:
        """The debtor must be able to say a balance."""
        yield Needed("debtor", self.debtor, ("balance",))

    def problems(
        self,
        others: Mapping[str, Mapping[str, programme.Programme]],
        participants: frozenset[str],  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """It must show what is on offer, from whoever deducts, to whoever may redeem it."""
        found = others["redemption"].get(self.redemption)
        if not isinstance(found, RedemptionProgramme):
            yield "redemption", f"there is no redemption programme {self.redemption!r}"
            return
        if found.debtor != self.debtor:
            yield "debtor", f"{self.redemption} has its points deducted by {found.debtor!r}"
        for origin in self.origins:
            if origin not in found.origins:
                yield "origins", f"{origin!r} cannot redeem {self.redemption}"
