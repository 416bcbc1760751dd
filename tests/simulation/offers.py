"""What is on offer in a run: `deploy/` as it ships, under policies of every shape.

The ladders are short, so that they run out within a run; which verbs a participant has, what is
done when a verdict is contradicted, and who deducts, differ from flavour to flavour.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any, Final

from orchestrator.admission.breaker import HealthPolicy, WhenUnavailable
from orchestrator.batch.decide import Decider
from orchestrator.engine.policy import Policies, Remedy, Rung, Until
from orchestrator.sagas.redemption.programme import DeductionMode, Programme
from tests.engine.memory import short_catalogue

HEALTH: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    {"breaker_min_samples": 2, "when_unavailable": WhenUnavailable.HOLD},
    {"breaker_min_samples": 2, "open_for": 10_000},
    {"in_flight_max": 4, "when_unavailable": WhenUnavailable.HOLD, "hold_for": 20_000},
    {"rate_per_s": 1, "burst": 2, "when_unavailable": WhenUnavailable.HOLD},
)
PREDEDUCTED: Final = "harbour-miles-prededucted"
"""A programme of the simulation's own: the channel deducts before it asks."""

_INQUIRE, _RESEND = (Rung.INQUIRE,), (Rung.RESEND,)
_CANCEL: Final[dict[str, Any]] = {
    "cancel": True,
    "cancel_every": 5_000,
    "cancel_quick": 2,
    "cancel_slowest": 60_000,
    "cancel_until": Until(after=900_000),
}
FLAVOURS: Final[tuple[Mapping[str, Any], ...]] = (
    {},
    _CANCEL,
    _CANCEL | {"rungs": _INQUIRE + _RESEND, "call_after": Until(after=30_000)},
    _CANCEL | {"rungs": (), "times": 1, "late_yes": (Remedy.CHARGE, Remedy.LOSS)},
    _CANCEL | {"late_yes": (Remedy.LOSS,), "late_no": (Remedy.REVERSE, Remedy.CHARGE, Remedy.LOSS)},
    _CANCEL | {"late_no": (Remedy.CHARGE, Remedy.LOSS), "pending_until": Until(after=7_200_000)},
    {"rungs": _RESEND, "late_yes": (Remedy.PARK,), "pending_times": 1},
    {"rungs": (), "times": 1, "tell_after": 6_000, "late_no": (Remedy.LOSS,)},
)
"""How the policies of the verbs that may be refused differ from the shipped ones."""


@cache
def decider(flavour: int) -> Decider:
    """The rules under one flavour of policies."""
    found = short_catalogue()
    changes = FLAVOURS[flavour]
    by_leg = {
        (participant, verb): policy if verb == "return" else replace(policy, **changes)
        for (participant, verb), policy in found.policies.by_leg.items()
    }
    ours = found.programmes["redemption"]
    miles = ours["uprp-harbour-miles"]
    own = {"id": PREDEDUCTED, "debtor": None, "deduction": DeductionMode.PREDEDUCTED}
    more = {**ours, PREDEDUCTED: miles.model_copy(update=own)}
    programmes = {**found.programmes, "redemption": more}
    return Decider(replace(found, programmes=programmes, policies=Policies(by_leg)), "uprp")


@cache
def health(flavour: int) -> Mapping[str, HealthPolicy]:
    """When a participant gets no new sagas: soon, so that a few sagas show it."""
    found = decider(0).catalogue.health
    changes = HEALTH[flavour % len(HEALTH)]
    return {name: replace(policy, **changes) for name, policy in found.items()}


def price(programme: str, lines: tuple[tuple[str, int], ...]) -> int:
    """What a channel that deducts itself takes."""
    found: Programme = decider(0).catalogue.programmes["redemption"][programme]
    items = [(found.item(item), quantity) for item, quantity in lines]
    return sum(found.rate.points_for(item.worth * n) for item, n in items if item is not None)
