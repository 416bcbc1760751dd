"""What became of a saga, in words and as plain data: its events, its messages, its waiting."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from adapters.figures import figures_in_words
from adapters.postgres.views import SagaStory, TimelineLine
from orchestrator.engine.definition import participant
from orchestrator.engine.instance import Leg, Saga
from orchestrator.engine.kind import SagaKind
from orchestrator.engine.machine import IN_FLIGHT, Status
from orchestrator.engine.results import phase
from orchestrator.sagas import KINDS
from orchestrator.sagas.balance.terms import BalanceTerms


def asked_in_words(saga: Saga) -> str:
    """What the origin asked for: pieces for points, or the balance of an account."""
    body = saga.terms.body
    if isinstance(body, BalanceTerms):
        whom = owner(saga, "balance") or "nobody"
        return f"balance of {body.debtor_account or 'no account'} at {whom}"
    lines = ", ".join(f"{line.quantity:,} x {line.item}" for line in body.lines) or "nothing"
    return f"{lines} for {body.points:,} {body.unit or 'points'}"


def figures_read(saga: Saga) -> str:
    """What the debtor said of a balance; empty for other sagas, and while it said nothing."""
    if not isinstance(saga.terms.body, BalanceTerms) or not saga.legs:
        return ""
    return figures_in_words({**(saga.legs[0].detail or {}), "unit": saga.terms.body.unit})


def event_in_words(story: SagaStory, entry: TimelineLine) -> str:
    """One accepted event in words."""
    saga, detail = story.saga, entry.detail
    origin = saga.terms.origin
    if entry.event == "answered":
        leg = str(detail.get("leg"))
        parts = [f"{owner(saga, leg)} answered {leg}: {detail.get('outcome')}"]
        if "amount" in detail:
            parts.append(f"{detail['amount']:,}")
        parts += [str(detail[name]) for name in ("code", "reference") if name in detail]
        return " ".join(parts)
    if entry.event == "refused":
        where = f" ({detail['field']})" if "field" in detail else ""
        return f"{origin} asked; refused: {detail.get('code')}{where}"
    if entry.event == "decided":
        return _decided(story, detail)
    return {
        "requested": f"{origin} asked; accepted for {detail.get('points', 0):,} points",
        "held": f"{origin} asked; accepted for {detail.get('points', 0):,} points and held:"
        f" {detail.get('participant')} cannot be asked ({detail.get('why')})",
        "released": "the participants can be asked",
        "timer": "no answer in time",
        "withdrawn": f"{origin} withdrew the request",
        "asked": f"{origin} asked how it stands",
    }.get(entry.event, entry.event)


def _decided(story: SagaStory, detail: Mapping[str, Any]) -> str:
    number = detail.get("decision")
    text = f"decision {number}: {detail.get('action')} {detail.get('leg')}"
    line = next((one for one in story.decisions if one.id == number), None)
    if line is None:
        return text
    approved = f", approved by {line.approved_by}" if line.approved_by else ""
    return f"{text}, by {line.actor}{approved}: {line.reason} (evidence: {line.evidence})"


def said_in_words(saga: Saga, said: str, *, past: bool = True) -> str:
    """A message such as `do credit/1#1` in words: as sent or, without `past`, as still to send."""
    kind, _, rest = said.partition(" ")
    path, _, number = rest.partition("#")
    if kind == "result":
        told = saga.told
        latest = told is not None and str(told.revision) == number
        which = "correction" if told is not None and latest and told.corrected else "result"
        status = f", {told.status}" if told is not None and latest else ""
        return f"{'told' if past else 'tell'} {saga.terms.origin}: {which} r{number}{status}"
    again = "" if number == "1" else f" (time {number})"
    asks = (_ASKED if past else _ASK)[kind]
    return f"{asks.format(owner(saga, path))}: {path}{again}"


_ASKED: Final = {"do": "asked {}", "inquire": "inquired of {}", "cancel": "told {} to cancel"}
_ASK: Final = {"do": "ask {}", "inquire": "inquire of {}", "cancel": "tell {} to cancel"}


def owner(saga: Saga, path: str) -> str:
    """The participant that a leg of this path is asked of; empty for a loss."""
    return participant(saga.terms, _kind(saga).definition, Leg(path=path, asked=0).verb)


def _kind(saga: Saga) -> SagaKind:
    return KINDS[saga.terms.definition, saga.terms.definition_version]


def waits_for(saga: Saga) -> str:
    """What the saga waits for now, in one sentence."""
    parts = []
    if parked := [leg for leg in saga.legs if leg.parked]:
        what = ", ".join(f"{leg.path} ({leg.status}: {leg.code})" for leg in parked)
        parts.append(f"waits for a person: {what}")
    if saga.held:
        parts.append(f"held before anything is asked, looks again at {_clock(saga.held)}")
    parts += [
        f"waits for {owner(saga, leg.path)} to answer {_question(leg)}"
        f" ({leg.status}, looks again at {_clock(leg.due)})"
        for leg in saga.legs
        if leg.status in IN_FLIGHT
    ]
    told = saga.told
    if told is not None and told.final:
        code = f", {told.code}" if told.code else ""
        how = "corrected" if told.corrected else "ended"
        parts.insert(0, f"{how}: {told.status}{code}")
        if told.superseded:
            parts.insert(1, "that is being corrected")
        if _kind(saga).keep_for is not None:
            parts.append(f"forgotten at {_clock(saga.wake_at)}")
    return "; ".join(parts) or "nothing was told yet"


def _question(leg: Leg) -> str:
    return f"the cancel of {leg.path}" if leg.status is Status.CANCELLING else leg.path


def _clock(at: int | None) -> str:
    return "never" if at is None else f"{datetime.fromtimestamp(at / 1000, UTC):%H:%M:%S}Z"


def as_data(story: SagaStory) -> dict[str, Any]:
    """The story as plain data: ids, status, the events in words, and what it waits for."""
    saga = story.saga
    return {
        "saga_id": str(saga.terms.saga_id),
        "request_id": saga.terms.request_id,
        "account": f"{saga.terms.origin}/{saga.terms.account}",
        "asked": asked_in_words(saga),
        "status": phase(saga),
        "timeline": [
            {"at": entry.at, "event": entry.event, "text": event_in_words(story, entry)}
            | {"said": [said_in_words(saga, said) for said in entry.detail.get("said", ())]}
            for entry in story.timeline
        ],
        "now": waits_for(saga),
    }
