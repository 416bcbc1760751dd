"""`uprp participants`: how each company is doing, and what that means for new redemptions."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from adapters.cli.options import AsJson
from adapters.clock import SystemClock
from adapters.console import EXIT_NOT_FOUND, complain, emit_json, run, stderr, stdout
from adapters.postgres.errors import translated
from adapters.postgres.health import Board, read
from adapters.postgres.migrate import check
from adapters.postgres.views import connected
from adapters.settings import read_settings
from orchestrator.admission.breaker import Breaker, HealthPolicy, State, WhenUnavailable, merged
from orchestrator.catalogue.loader import load
from schemas.times import moment

STALE_MS: Final = 10_000
"""When no coordinator has written for so long, what is shown is not the present."""
_COLOURS: Final = {State.CLOSED: "green", State.HALF_OPEN: "yellow", State.OPEN: "red"}


@dataclass(frozen=True, slots=True)
class ParticipantStatus:
    """The status of one participant, as all coordinators see it."""

    participant: str
    state: State
    since: datetime | None
    until: datetime | None
    in_flight: int
    in_flight_max: int | None
    asked: int  # Within the window, like the next two.
    answered: int
    missed: int
    window_ms: int
    rate_per_s: int | None
    new_sagas: str


def participants_commands(app: typer.Typer) -> None:
    """Register the command.

    Exit codes: 0 shown, 1 no database, 2 a file is wrong, 3 no such participant, 4 old schema.
    """
    app.command("participants")(participants)


def participants(
    participant: Annotated[str | None, typer.Argument(help="Only this one.")] = None,
    *,
    as_json: AsJson = False,
) -> None:
    """Show how each participant is doing, and what becomes of new redemptions with it."""
    settings = read_settings()
    board, policies = run(_read(settings.postgres.dsn.get_secret_value(), settings.deploy))
    if participant is not None and participant not in policies:
        complain(f"there is no participant {participant!r}\nnext: uprp participants")
        raise typer.Exit(EXIT_NOT_FOUND)
    now = SystemClock().now()
    wanted = {n: p for n, p in sorted(policies.items()) if participant in (None, n)}
    found = list(statuses(board, wanted, now))
    heard = max(board.heard.values(), default=None)
    alive = sum(now - at <= STALE_MS for at in board.heard.values())
    if as_json:
        told_at = None if heard is None else moment(heard)
        shown = [asdict(one) for one in found]
        emit_json({"coordinators": alive, "told_at": told_at, "participants": shown})
    else:
        _show(found)
    if not alive:
        age = "ever" if heard is None else f"for {(now - heard) // 1000} s"
        stderr().print(f"no coordinator has told anything {age}: this is not the present")


async def _read(dsn: str, deploy: Any) -> tuple[Board, Mapping[str, HealthPolicy]]:
    policies = load(deploy).health
    with translated():
        async with connected(dsn) as connection:
            await check(connection)
            return await read(connection), policies


def statuses(
    board: Board, policies: Mapping[str, HealthPolicy], now: int
) -> Iterator[ParticipantStatus]:
    """The status of each participant at `now` (ms), merged as the coordinators merge it."""
    for name, policy in policies.items():
        breaker = board.breakers.get(name, Breaker())
        seen = merged(
            [
                sight.window
                for sight in board.sights
                if sight.participant == name and sight.revision == breaker.revision
            ],
            policy,
            now,
        )
        yield ParticipantStatus(
            participant=name,
            state=breaker.state,
            since=moment(breaker.since) if breaker.since else None,
            until=None if breaker.until is None else moment(breaker.until),
            in_flight=board.in_flight.get(name, 0),
            in_flight_max=policy.in_flight_max,
            asked=seen.asked,
            answered=seen.answered,
            missed=seen.missed,
            window_ms=policy.breaker_window,
            rate_per_s=policy.rate_per_s,
            new_sagas=what_becomes_of_new(policy, breaker, board.in_flight.get(name, 0)),
        )


def what_becomes_of_new(policy: HealthPolicy, breaker: Breaker, in_flight: int) -> str:
    """What becomes of a new redemption with this participant, in words."""
    holds = policy.when_unavailable is WhenUnavailable.HOLD
    fate = f"held up to {policy.hold_for // 1000} s" if holds else "refused"
    if breaker.state is State.OPEN:
        return fate
    if breaker.state is State.HALF_OPEN:
        return f"{policy.probes} let through as probes, others {fate}"
    if policy.in_flight_max is not None and in_flight >= policy.in_flight_max:
        return fate
    return "let through"


def _show(found: list[ParticipantStatus]) -> None:
    table = Table(box=None, pad_edge=False)
    for heading in (
        "participant",
        "breaker",
        "since",
        "until",
        "in flight",
        "asked",
        "answered",
        "missed",
        "rate",
        "new sagas",
    ):
        table.add_column(heading, overflow="fold")
    for one in found:
        most = "" if one.in_flight_max is None else f" of {one.in_flight_max}"
        limit = "" if one.rate_per_s is None else f" of {one.rate_per_s}"
        table.add_row(
            one.participant,
            f"[{_COLOURS[one.state]}]{one.state.replace('_', '-')}[/]",
            _clock(one.since),
            _clock(one.until),
            f"{one.in_flight}{most}",
            str(one.asked),
            str(one.answered),
            str(one.missed),
            f"{one.asked * 1000 / one.window_ms:.1f}/s{limit}",
            one.new_sagas,
        )
    stdout().print(table)


def _clock(at: datetime | None) -> str:
    return "-" if at is None else f"{at.astimezone(UTC):%H:%M:%S}Z"
