"""`uprp request`: publish requests like any partner, and wait for what comes back."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from confluent_kafka import Consumer, KafkaException

from adapters.console import EXIT_FAILED, EXIT_NOT_FOUND, EXIT_USAGE, complain, stderr, stdout
from adapters.figures import figures_in_words
from adapters.kafka.partner import open_producer
from adapters.kafka.requests import (
    Answers,
    LineError,
    RequestLine,
    hear,
    listen,
    publish,
    read_lines,
)
from adapters.settings import read_settings
from schemas import events


def request_commands(app: typer.Typer) -> None:
    """Register the command."""
    app.command(
        "request",
        epilog="Exit codes: 0 published (with --wait: every one got its final answer), 1 Kafka is"
        " away, 2 a line is wrong, 3 an answer did not come in time.",
    )(request)


def request(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help="JSON lines, or - for stdin.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Show the results.")] = False,
    timeout: Annotated[float, typer.Option(help="Seconds that --wait waits.")] = 60.0,
    as_json: Annotated[bool, typer.Option("--json", help="Results as JSON lines.")] = False,
) -> None:
    """Publish redemption requests, or questions about balances, from a file of JSON lines."""
    kafka = read_settings().kafka
    servers, patience_s = kafka.bootstrap_servers, kafka.request_timeout_s
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8")
        lines = list(read_lines(text))
    except (OSError, UnicodeDecodeError, LineError) as error:
        complain(f"{file}: {error}")
        raise typer.Exit(EXIT_USAGE) from None
    listener = None
    try:
        if wait:
            listener = listen(servers, {line.origin for line in lines}, patience_s)
        publish(open_producer(servers, patience_s), lines)
        stderr().print(f"published {len(lines)} record(s)", style="dim")
        if listener is not None and not _show(listener, lines, timeout, as_json=as_json):
            raise typer.Exit(EXIT_NOT_FOUND)
    except KafkaException as error:
        complain(f"Kafka at {servers}: {error}\nnext: uprp status, uprp topics apply")
        raise typer.Exit(EXIT_FAILED) from None
    finally:
        if listener is not None:
            listener.close()


def _show(consumer: Consumer, lines: list[RequestLine], timeout: float, *, as_json: bool) -> bool:
    """Print results as they come; returns whether every line got its final answer in time."""
    answers = Answers()
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline:
        for data in hear(consumer, answers):
            if as_json:
                sys.stdout.write(orjson.dumps(data).decode() + "\n")
            else:
                stdout().print(in_words(data), markup=False)
        if all(answers.has(line) for line in lines):
            return True
    missing = sum(not answers.has(line) for line in lines)
    complain(f"{missing} request(s) got no final answer in {timeout:g} s\nnext: uprp saga list")
    return False


def in_words(data: dict[str, Any]) -> str:
    """One result in one line."""
    reason = data.get("reason") or {}
    why = f"  {reason.get('code')}: {reason.get('message')}" if reason else ""
    if data["_type"] == events.REFUSED:
        return f"refused   {data.get('request_id') or data.get('event_id')}{why}"
    final = "final" if data.get("final") else "interim"
    begin = f"{final:9} {data.get('request_id')} r{data.get('revision')} {data.get('status')}"
    if data["_type"] == events.BALANCE:
        figures = figures_in_words(data)
        return f"{begin}{f'  {figures}' if figures else ''}{why}"
    points = data.get("points", {})
    issued = ", ".join(
        f"{line['issued']}/{line['quantity']} {line['item']}" for line in data.get("lines", ())
    )
    return (
        f"{begin}  charged {points.get('charged', 0):,} returned {points.get('returned', 0):,}"
        f"  {issued}{why}"
    )
