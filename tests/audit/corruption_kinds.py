"""Every kind of end, and of waiting, that a saga has; each leaves one saga in the database."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from orchestrator.engine.operator import Action
from tests.audit.setup import NO, YES, Scene

CANCELLED: Final = {"outcome": "CANCELLED"}


async def success(scene: Scene) -> None:
    await scene.coupons(2, 3)
    for path in ("deduct", "credit/1", "credit/2"):
        await scene.say(path)


async def one_line(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct")
    await scene.say("credit/1")


async def partial(scene: Scene) -> None:
    """One line fewer than asked, one not at all."""
    await scene.coupons(3, 3)
    await scene.say("deduct")
    await scene.say("credit/1", {**YES, "quantity": 2})
    await scene.say("credit/2", NO)
    await scene.say("deduct/return")


async def returned(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct")
    await scene.say("credit/1", NO)
    await scene.wait(2)
    await scene.say("deduct/return")


async def returning(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct")
    await scene.say("credit/1", NO)


async def nothing_deducted(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct", NO)


async def refused(scene: Scene) -> None:
    await scene.coupons(1)


async def tombstone(scene: Scene) -> None:
    await scene.withdraw()
    await scene.coupons(2)


async def withdrawn(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.withdraw()
    await scene.say("deduct")
    await scene.say("deduct/return")


async def asked_whole(scene: Scene) -> None:
    """All or nothing: what one line gave is taken back."""
    await scene.miles()
    await scene.say("deduct")
    await scene.say("credit/1")
    await scene.say("credit/2", NO)
    await scene.say("credit/1/reverse")
    await scene.say("deduct/return")


async def kept_whole(scene: Scene) -> None:
    """All or nothing, but what one line gave cannot be taken back."""
    await scene.miles()
    await scene.say("deduct")
    await scene.say("credit/1")
    await scene.say("credit/2", NO)
    await scene.say("credit/1/reverse", NO)
    await scene.say("deduct/return")


async def deducting(scene: Scene) -> None:
    await scene.coupons(2)


async def pending(scene: Scene) -> None:
    await scene.coupons(2, 3)
    await scene.say("deduct")
    await scene.say("credit/1", {"outcome": "PENDING"})
    await scene.say("credit/2")


async def cancelling(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct")
    await scene.until("cancelling", "credit/1")


async def cancelled(scene: Scene) -> None:
    await cancelling(scene)
    await scene.say("credit/1", CANCELLED)
    await scene.say("deduct/return")


async def reversed_late(scene: Scene) -> None:
    """A yes after the points were returned: asked back, and given back."""
    await cancelled(scene)
    await scene.say("credit/1")
    await scene.say("credit/1/reverse")


async def charged_late(scene: Scene) -> None:
    await cancelled(scene)
    await scene.say("credit/1")
    await scene.say("credit/1/reverse", NO)
    await scene.say("charge")


async def lost(scene: Scene) -> None:
    """A yes after the points were returned: neither asked back nor charged again."""
    await cancelled(scene)
    await scene.say("credit/1")
    await scene.say("credit/1/reverse", NO)
    await scene.say("charge", NO)


async def correcting(scene: Scene) -> None:
    await cancelled(scene)
    await scene.say("credit/1")


async def silent(scene: Scene) -> None:
    """The ladder ran out: parked, with the points in suspense."""
    await scene.miles()
    await scene.say("deduct")
    await scene.until("silent", "credit/1")


async def answered_late(scene: Scene) -> None:
    """Parked, and taken up again by a late answer."""
    await silent(scene)
    await scene.say("credit/1")
    await scene.say("credit/2")


async def disputed(scene: Scene) -> None:
    """A no after success, where the policy calls a person."""
    await one_line(scene)
    await scene.say("credit/1", NO)


async def return_refused(scene: Scene) -> None:
    await scene.coupons(2)
    await scene.say("deduct")
    await scene.say("credit/1", NO)
    await scene.say("deduct/return", NO)


async def given_up(scene: Scene) -> None:
    """Two persons write off a return that was refused."""
    await return_refused(scene)
    await scene.rule("deduct/return", Action.WRITE_OFF)


async def returned_after_all(scene: Scene) -> None:
    """Written off, and confirmed later."""
    await given_up(scene)
    await scene.say("deduct/return")


async def ruled_done(scene: Scene) -> None:
    """Nobody answered; evidence says that it was done."""
    await silent(scene)
    await scene.rule("credit/1", Action.CONFIRM)
    await scene.say("credit/2")


async def ruled_not_done(scene: Scene) -> None:
    """Success was contradicted; evidence says that nothing was given."""
    await disputed(scene)
    await scene.rule("credit/1", Action.REJECT)
    await scene.say("deduct/return")


async def tried_again(scene: Scene) -> None:
    await return_refused(scene)
    await scene.rule("deduct/return", Action.RETRY)


async def held(scene: Scene) -> None:
    with scene.closed("alipayhk"):
        await scene.coupons(2)
        await scene.wait(2)


async def released(scene: Scene) -> None:
    await held(scene)
    await scene.wait()
    await scene.say("deduct")
    await scene.say("credit/1")


async def held_too_long(scene: Scene) -> None:
    await held(scene)
    scene.stage.now += 3_600_000
    with scene.closed("alipayhk"):
        await scene.wait()


async def taken(scene: Scene) -> None:
    await scene.taken()
    await scene.say("credit/1")


async def taken_partly(scene: Scene) -> None:
    await scene.taken()
    await scene.say("credit/1", {**YES, "quantity": 1})
    await scene.say("deduct/return")


async def taken_not_acknowledged(scene: Scene) -> None:
    """The origin heard that it must return what it took, and has not said that it did."""
    await scene.taken()
    await scene.say("credit/1", NO)
    await scene.wait(2)


async def taken_refused(scene: Scene) -> None:
    await scene.taken(299)


KINDS: Final[dict[str, tuple[str, Callable[[Scene], Awaitable[None]]]]] = {
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
