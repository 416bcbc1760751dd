"""A programme for balance inquiries: it shows the rules and limits of a redemption programme."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal

from orchestrator.engine import programme
from orchestrator.engine.programme import Needed
from orchestrator.sagas.redemption.programme import Programme as RedemptionProgramme
from schemas.values import Slug


class Programme(programme.Programme):
    """Whose points are shown to which origins, and for which redemption programme."""

    saga: Literal["balance"]
    debtor: Slug
    redemption: Slug  # The programme whose rate, items and limits are shown.

    def needs(self) -> Iterator[Needed]:
        """The debtor must answer balance inquiries."""
        yield Needed("debtor", self.debtor, ("balance",))

    def problems(
        self,
        others: Mapping[str, Mapping[str, programme.Programme]],
        participants: frozenset[str],  # noqa: ARG002
    ) -> Iterator[tuple[str, str]]:
        """What is wrong: the key and why.

        The redemption programme must exist and have the same debtor, and each origin must be one
        of its origins.
        """
        shown = others["redemption"].get(self.redemption)
        if not isinstance(shown, RedemptionProgramme):
            yield "redemption", f"there is no redemption programme {self.redemption!r}"
            return
        if shown.debtor != self.debtor:
            yield "debtor", f"{self.redemption} has its points deducted by {shown.debtor!r}"
        for origin in self.origins:
            if origin not in shown.origins:
                yield "origins", f"{origin!r} cannot redeem {self.redemption}"
