"""`uprp parked resolve`, `approve`, `decline`: what people decide, each an audited row."""

from __future__ import annotations

import asyncio
import re
from datetime import UTC, datetime
from typing import Annotated, Final

import typer
from pydantic import TypeAdapter, ValidationError
from rich.markup import escape

from adapters.cli.case import (
    Foreseen,
    decision_data,
    decision_lines,
    decision_status,
    engine_of,
    foresee,
)
from adapters.cli.options import AsJson
from adapters.cli.session import SagaId, refuse, story_of, with_decisions
from adapters.console import (
    EXIT_CONFLICT,
    EXIT_FAILED,
    EXIT_NOT_FOUND,
    EXIT_REFUSED,
    EXIT_USAGE,
    emit_json,
    stderr,
    stdout,
)
from adapters.postgres.decisions import DecisionStore, Proposal
from adapters.postgres.rows import ms_at
from adapters.postgres.views import DecisionLine
from adapters.settings import read_settings
from orchestrator.catalogue.loader import load
from orchestrator.engine.instance import Saga
from orchestrator.engine.operator import Action, OperatorDecision
from schemas.values import Id

_WAIT_S: Final = 30.0
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,99}")
_TEXT_MAX: Final = 2_000

DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what would follow.")]
Wait = Annotated[bool, typer.Option("--wait", help="Wait until it is applied or refused.")]
Actor = Annotated[
    str,
    typer.Option("--as", metavar="NAME", envvar=["UPRP_ACTOR", "USER"], help="Who you are."),
]
Number = Annotated[int, typer.Argument(metavar="DECISION", min=1, help="The decision's number.")]
Reason = Annotated[str, typer.Option(metavar="TEXT", help="Why, in one line.")]


def parked_resolve(  # One option for each thing that the audit must know.
    saga_id: SagaId,
    leg: Annotated[str, typer.Argument(metavar="LEG", help="Such as credit/1.")],
    action: Annotated[Action, typer.Argument(help="What to decide.")],
    *,
    reason: Reason,
    evidence: Annotated[str, typer.Option(metavar="TEXT", help="Upon what: a file, a ticket.")],
    actor: Actor,
    amount: Annotated[
        int | None, typer.Option(min=1, help="With confirm: how much, if not all of it.")
    ] = None,
    reference: Annotated[
        str | None, typer.Option(help="With confirm: the participant's own reference.")
    ] = None,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Decide about a leg of a parked saga; forced outcomes and losses wait for a second person."""
    proposal = Proposal(
        leg=leg.removeprefix(f"{saga_id}/"),
        action=action,
        evidence=_text("--evidence", evidence),
        reason=_text("--reason", reason),
        actor=_name(actor),
        amount=amount,
        reference=_reference(reference),
    )
    if action is not Action.CONFIRM and (amount is not None or reference is not None):
        refuse(EXIT_USAGE, f"--amount and --reference belong to confirm, not to {action}")

    async def act(store: DecisionStore) -> tuple[Foreseen, DecisionLine | None]:
        saga = (await story_of(store, saga_id)).saga
        foreseen = _allowed(
            saga, proposal.leg, OperatorDecision(_next(saga), action, amount, reference)
        )
        if dry_run:
            return foreseen, None
        line = await _propose(store, saga, proposal)
        return foreseen, await _settled(store, line) if wait and line.status != "proposed" else line

    foreseen, line = with_decisions(act)
    _show(foreseen, line, as_json=as_json)


def parked_approve(
    decision: Number,
    *,
    actor: Actor,
    dry_run: DryRun = False,
    wait: Wait = False,
    as_json: AsJson = False,
) -> None:
    """Approve what another person decided; from then on the platform carries it out."""
    name = _name(actor)

    async def act(store: DecisionStore) -> tuple[Foreseen, DecisionLine]:
        line = await _open(store, decision)
        if line.actor == name:
            refuse(
                EXIT_REFUSED,
                f"decision {decision} was made by {name}, and a second person must approve it\n"
                f"next: somebody else runs uprp parked approve {decision}",
            )
        if line.status == "approved":
            refuse(EXIT_CONFLICT, f"decision {decision} {decision_status(line)} already")
        saga = (await story_of(store, line.saga_id)).saga
        foreseen = _allowed(saga, line.leg, line.ruling, decline=decision)
        if dry_run:
            return foreseen, line
        if not await store.approve(line, name):
            refuse(EXIT_CONFLICT, f"decision {decision} was approved or settled just now")
        line = await _open_or_settled(store, decision)
        return foreseen, await _settled(store, line) if wait else line

    foreseen, line = with_decisions(act)
    _show(foreseen, line, as_json=as_json)


def parked_decline(
    decision: Number,
    *,
    reason: Reason,
    actor: Actor,
    dry_run: DryRun = False,
    as_json: AsJson = False,
) -> None:
    """Take a decision back, or refuse to approve it; anybody may, until it is carried out."""
    name, why = _name(actor), _text("--reason", reason)

    async def act(store: DecisionStore) -> DecisionLine:
        line = await _open(store, decision)
        if dry_run:
            return line
        if not await store.decline(line, name, why):
            refuse(EXIT_CONFLICT, f"decision {decision} was settled just now")
        return await _open_or_settled(store, decision)

    line = with_decisions(act)
    if as_json:
        emit_json(decision_data(line))
    else:
        for text in decision_lines(line):
            stdout().print(escape(text))


def _show(foreseen: Foreseen, line: DecisionLine | None, *, as_json: bool) -> None:
    if as_json:
        decision = decision_data(line) if line is not None else None
        emit_json({"decision": decision, "foreseen": foreseen})
    else:
        if line is None or line.outcome is None:
            stdout().print(escape(f"then: {foreseen.in_words()}"))
        for text in decision_lines(line) if line is not None else ():
            stdout().print(escape(text))
    if line is not None and line.outcome == "refused":
        raise typer.Exit(EXIT_REFUSED)


def _allowed(saga: Saga, path: str, ruling: OperatorDecision, *, decline: int = 0) -> Foreseen:
    """What would follow from a decision; exits with 6 when it is not allowed now."""
    engine = engine_of(saga, load(read_settings().deploy).policies)
    now = ms_at(datetime.now(UTC))
    found = foresee(engine, saga, path, ruling, now)
    if isinstance(found, str):
        show = f"parked show {saga.terms.saga_id}"
        then = f"parked decline {decline} --reason TEXT" if decline else show
        refuse(EXIT_REFUSED, f"{found}\nnext: uprp {then}")
    return found


def _next(saga: Saga) -> int:
    """A decision number above all that the saga has seen, to try a decision out."""
    return max((leg.decision for leg in saga.legs), default=0) + 1


async def _propose(store: DecisionStore, saga: Saga, proposal: Proposal) -> DecisionLine:
    terms = saga.terms
    number = await store.propose(terms.key_hash, terms.saga_id, proposal)
    if number is None:
        key = (terms.key_hash, terms.saga_id)
        for line in await store.decisions_of([key]):
            if line.leg == proposal.leg and line.outcome is None:
                refuse(
                    EXIT_CONFLICT,
                    f"decision {line.id} ({line.action}, by {line.actor}) about {line.leg} is open"
                    f" and {decision_status(line)}\nnext: uprp parked approve {line.id}, or"
                    f" uprp parked decline {line.id} --reason TEXT",
                )
        refuse(EXIT_CONFLICT, f"another decision about {proposal.leg} was open\nnext: try again")
    return await _open_or_settled(store, number)


async def _open_or_settled(store: DecisionStore, number: int) -> DecisionLine:
    line = await store.decision(number)
    if line is None:
        refuse(EXIT_NOT_FOUND, f"there is no decision {number}\nnext: uprp parked decisions")
    return line


async def _open(store: DecisionStore, number: int) -> DecisionLine:
    line = await _open_or_settled(store, number)
    if line.outcome is not None:
        refuse(EXIT_CONFLICT, f"decision {number} is settled: {decision_status(line)}")
    return line


async def _settled(store: DecisionStore, line: DecisionLine) -> DecisionLine:
    """Wait until the platform has carried a decision out, or refused it."""
    stderr().print(f"waiting for decision {line.id} to be carried out", style="dim")
    loop = asyncio.get_running_loop()
    deadline = loop.time() + _WAIT_S
    while line.outcome is None:
        if loop.time() > deadline:
            refuse(
                EXIT_FAILED,
                f"decision {line.id} was not carried out in {_WAIT_S:g} s; it stays in force\n"
                "next: is a coordinator running? uprp parked decisions --open",
            )
        await asyncio.sleep(0.2)
        line = await _open_or_settled(store, line.id)
    return line


def _text(option: str, given: str) -> str:
    text = given.strip()
    if not text or len(text) > _TEXT_MAX or not text.isprintable():
        what = f"one line of 1 to {_TEXT_MAX:,} printable characters"
        refuse(EXIT_USAGE, f"{option}: must be {what}")
    return text


def _name(given: str) -> str:
    name = given.strip().lower()
    if not _NAME.fullmatch(name):
        refuse(EXIT_USAGE, f"--as: {given!r} is not a name of letters, digits and . _ @ + -")
    return name


def _reference(given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return TypeAdapter(Id).validate_python(given)
    except ValidationError:
        refuse(EXIT_USAGE, "--reference: must be 1 to 128 printable ASCII characters")
