"""Companies that break one promise each, and the sandbox that plays one of them.

    python -m tests.conform.liars alipayhk=PaysTwice,citi=ForgetsTombstones --data ...

plays these companies, and takes the other options of `uprp sandbox`.
"""

from __future__ import annotations

import sys
from typing import Any, Final

import orjson
import typer

from adapters.cli.sandbox import sandbox_commands
from adapters.sandbox.commands import Command
from adapters.sandbox.company import Company
from adapters.sandbox.faults import Fault
from adapters.sandbox.handler import CommandHandler
from adapters.sandbox.ledger import Leg


class PaysTwice(CommandHandler):
    """A command that comes again is carried out again, and answered with what came of that."""

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        if leg.outcome == "CONFIRMED":
            self._carry_out(command, leg)
        else:
            super()._do(command, leg, fault)


class PaysTwiceInSecret(CommandHandler):
    """What comes again is carried out again, but for an undo, and answered as the first time."""

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        if leg.outcome == "CONFIRMED" and command.verb in ("deduct", "credit"):
            told = leg.answer
            self._carry_out(command, leg)
            leg.answer = told
        else:
            super()._do(command, leg, fault)


class ForgetsTombstones(CommandHandler):
    """A cancel of what never came is accepted, and forgotten when it comes."""

    def _do(self, command: Command, leg: Leg, fault: Fault) -> None:
        if leg.outcome == "CANCELLED":
            leg.outcome, leg.answer = None, None
        super()._do(command, leg, fault)


class AnswersAnew(CommandHandler):
    """An inquiry about what was done gets a new result, with a reference of its own."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        told = leg.answer
        if command.verb == "inquire" and leg.outcome == "CONFIRMED" and told is not None:
            found = orjson.loads(told)
            leg.answer = orjson.dumps({**found, "reference": f"AGAIN-{leg.inquiries}"})
        super()._reply(command, leg, fault, mark)
        leg.answer = told


class SaysNoTime(CommandHandler):
    """A balance is said without the time at which it was so."""

    def _reply(self, command: Command, leg: Leg, fault: Fault, mark: str = "") -> None:
        if command.verb == "balance" and leg.outcome == "CONFIRMED" and leg.answer is not None:
            told = orjson.loads(leg.answer)
            del told["as_of"]
            leg.answer = orjson.dumps(told)
        super()._reply(command, leg, fault, mark)


LIARS: Final = {
    liar.__name__: liar
    for liar in (PaysTwice, PaysTwiceInSecret, ForgetsTombstones, AnswersAnew, SaysNoTime)
}


def main() -> None:
    """Play the companies that the first argument names, each as its liar."""
    chosen = dict(one.split("=") for one in sys.argv[1].split(","))

    def handler(participant: str, *of_turn: Any, **more: Any) -> CommandHandler:
        return LIARS[chosen[participant]](participant, *of_turn, **more)

    Company.handler_type = staticmethod(handler)  # type: ignore[assignment]  # A class of several.
    app = typer.Typer()
    sandbox_commands(app)
    app(["sandbox", "--only", ",".join(chosen), *sys.argv[2:]])


if __name__ == "__main__":
    main()
