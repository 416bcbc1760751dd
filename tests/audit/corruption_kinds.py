"""Every kind of end, and of waiting, that a saga has; each leaves one saga in the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from orchestrator.engine.operator import Action
from orchestrator.sagas.balance.kind import KEPT_FOR_MS
from tests.audit.setup import NO, YES, Scenario

CANCELLED: Final = {"outcome": "CANCELLED"}


async def success(scenario: Scenario) -> None:
    await scenario.coupons(2, 3)
    for path in ("deduct", "credit/1", "credit/2"):
        await scenario.say(path)


async def one_line(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct")
    await scenario.say("credit/1")


async def partial(scenario: Scenario) -> None:
    """One line fewer than asked, one not at all."""
    await scenario.coupons(3, 3)
    await scenario.say("deduct")
    await scenario.say("credit/1", {**YES, "quantity": 2})
    await scenario.say("credit/2", NO)
    await scenario.say("deduct/return")


async def returned(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct")
    await scenario.say("credit/1", NO)
    await scenario.wait(2)
    await scenario.say("deduct/return")


async def returning(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct")
    await scenario.say("credit/1", NO)


async def nothing_deducted(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct", NO)


async def refused(scenario: Scenario) -> None:
    await scenario.coupons(1)


async def tombstone(scenario: Scenario) -> None:
    await scenario.withdraw()
    await scenario.coupons(2)


async def withdrawn(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.withdraw()
    await scenario.say("deduct")
    await scenario.say("deduct/return")


async def asked_whole(scenario: Scenario) -> None:
    """All or nothing: what one line gave is taken back."""
    await scenario.miles()
    await scenario.say("deduct")
    await scenario.say("credit/1")
    await scenario.say("credit/2", NO)
    await scenario.say("credit/1/reverse")
    await scenario.say("deduct/return")


async def kept_whole(scenario: Scenario) -> None:
    """All or nothing, but what one line gave cannot be taken back."""
    await scenario.miles()
    await scenario.say("deduct")
    await scenario.say("credit/1")
    await scenario.say("credit/2", NO)
    await scenario.say("credit/1/reverse", NO)
    await scenario.say("deduct/return")


async def deducting(scenario: Scenario) -> None:
    await scenario.coupons(2)


async def pending(scenario: Scenario) -> None:
    await scenario.coupons(2, 3)
    await scenario.say("deduct")
    await scenario.say("credit/1", {"outcome": "PENDING"})
    await scenario.say("credit/2")


async def cancelling(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct")
    await scenario.until("cancelling", "credit/1")


async def cancelled(scenario: Scenario) -> None:
    await cancelling(scenario)
    await scenario.say("credit/1", CANCELLED)
    await scenario.say("deduct/return")


async def reversed_late(scenario: Scenario) -> None:
    """A yes after the points were returned: asked back, and given back."""
    await cancelled(scenario)
    await scenario.say("credit/1")
    await scenario.say("credit/1/reverse")


async def charged_late(scenario: Scenario) -> None:
    await cancelled(scenario)
    await scenario.say("credit/1")
    await scenario.say("credit/1/reverse", NO)
    await scenario.say("charge")


async def lost(scenario: Scenario) -> None:
    """A yes after the points were returned: neither asked back nor charged again."""
    await cancelled(scenario)
    await scenario.say("credit/1")
    await scenario.say("credit/1/reverse", NO)
    await scenario.say("charge", NO)


async def correcting(scenario: Scenario) -> None:
    await cancelled(scenario)
    await scenario.say("credit/1")


async def silent(scenario: Scenario) -> None:
    """The ladder ran out: parked, with the points in suspense."""
    await scenario.miles()
    await scenario.say("deduct")
    await scenario.until("silent", "credit/1")


async def answered_late(scenario: Scenario) -> None:
    """Parked, and taken up again by a late answer."""
    await silent(scenario)
    await scenario.say("credit/1")
    await scenario.say("credit/2")


async def disputed(scenario: Scenario) -> None:
    """A no after success, where the policy calls a person."""
    await one_line(scenario)
    await scenario.say("credit/1", NO)


async def return_refused(scenario: Scenario) -> None:
    await scenario.coupons(2)
    await scenario.say("deduct")
    await scenario.say("credit/1", NO)
    await scenario.say("deduct/return", NO)


async def given_up(scenario: Scenario) -> None:
    """Two persons write off a return that was refused."""
    await return_refused(scenario)
    await scenario.rule("deduct/return", Action.WRITE_OFF)


async def returned_after_all(scenario: Scenario) -> None:
    """Written off, and confirmed later."""
    await given_up(scenario)
    await scenario.say("deduct/return")


async def ruled_done(scenario: Scenario) -> None:
    """Nobody answered; evidence says that it was done."""
    await silent(scenario)
    await scenario.rule("credit/1", Action.CONFIRM)
    await scenario.say("credit/2")


async def ruled_not_done(scenario: Scenario) -> None:
    """Success was contradicted; evidence says that nothing was given."""
    await disputed(scenario)
    await scenario.rule("credit/1", Action.REJECT)
    await scenario.say("deduct/return")


async def tried_again(scenario: Scenario) -> None:
    await return_refused(scenario)
    await scenario.rule("deduct/return", Action.RETRY)


async def held(scenario: Scenario) -> None:
    with scenario.closed("alipayhk"):
        await scenario.coupons(2)
        await scenario.wait(2)


async def released(scenario: Scenario) -> None:
    await held(scenario)
    await scenario.wait()
    await scenario.say("deduct")
    await scenario.say("credit/1")


async def held_too_long(scenario: Scenario) -> None:
    await held(scenario)
    scenario.platform.now += 3_600_000
    with scenario.closed("alipayhk"):
        await scenario.wait()


async def taken(scenario: Scenario) -> None:
    await scenario.taken()
    await scenario.say("credit/1")


async def taken_partly(scenario: Scenario) -> None:
    await scenario.taken()
    await scenario.say("credit/1", {**YES, "quantity": 1})
    await scenario.say("deduct/return")


async def taken_not_acknowledged(scenario: Scenario) -> None:
    """The origin heard that it must return what it took, and has not said that it did."""
    await scenario.taken()
    await scenario.say("credit/1", NO)
    await scenario.wait(2)


async def taken_refused(scenario: Scenario) -> None:
    await scenario.taken(299)


FIGURES: Final = {
    "outcome": "CONFIRMED",
    "reference": "B-1",
    "available": 80_000,
    "held": 0,
    "as_of": "2027-01-15T16:00:00.000+08:00",
}


async def balance_answered(scenario: Scenario) -> None:
    await scenario.balance()
    await scenario.say("balance", FIGURES)


async def balance_unavailable(scenario: Scenario) -> None:
    """The bank is silent."""
    await scenario.balance()
    await scenario.wait()


async def balance_refused(scenario: Scenario) -> None:
    await scenario.balance(debtor_account=None)


async def balance_asked(scenario: Scenario) -> None:
    """Not answered yet."""
    await scenario.balance()


async def balance_forgotten(scenario: Scenario) -> None:
    """Answered, kept for as long as was promised, and deleted."""
    await balance_answered(scenario)
    at = (await scenario.saga()).wake_at
    assert at is not None
    assert at - scenario.platform.now > KEPT_FOR_MS - 5_000, "it is kept, though it was answered"
    await scenario.wait()


QUESTIONS: Final[dict[str, Callable[[Scenario], Awaitable[None]]]] = {
    play.__name__.replace("_", "-"): play
    for play in (
        balance_forgotten,
        balance_answered,
        balance_unavailable,
        balance_refused,
        balance_asked,
    )
}
"""Questions, all of AlipayHK; the first leaves nothing. They come after the redemptions."""

KINDS: Final[dict[str, tuple[str, Callable[[Scenario], Awaitable[None]]]]] = {
    play.__name__.replace("_", "-"): (origin, play)
    for origin, plays in (
        (
            "alipayhk",
            (
                success, one_line, partial, returned, returning, nothing_deducted, refused,
                tombstone, withdrawn, deducting, pending, cancelling, cancelled, reversed_late,
                charged_late, lost, correcting, disputed, return_refused,
                given_up, returned_after_all, ruled_not_done, tried_again, held, released,
                held_too_long,
            ),
        ),
        (
            "harbour",
            (
                asked_whole, kept_whole, silent, answered_late, ruled_done, taken, taken_partly,
                taken_not_acknowledged, taken_refused,
            ),
        ),
    )
    for play in plays
}  # fmt: skip
"""Each kind with the origin that asks."""
