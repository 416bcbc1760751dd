"""A participant's ladders, from file to engine: windows, pauses, remedies, what it lacks."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from itertools import pairwise, product
from pathlib import Path
from typing import Any, Final
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.catalogue.loader import CatalogueError, load
from orchestrator.catalogue.participant import Participant
from orchestrator.engine import ladder
from orchestrator.engine.instance import Leg
from orchestrator.engine.machine import IN_FLIGHT, Event, Status
from orchestrator.engine.policy import DEFAULT, LegPolicy, Remedy, Rung, Until

SECOND: Final = 1_000
MINUTE: Final = 60 * SECOND
HOUR: Final = 60 * MINUTE
DAY: Final = 24 * HOUR
HEAD: Final = 'id = "p"\nversion = 1\nname = "P"\n'


def read(body: str) -> Participant:
    """A participant, as a file has it."""
    return Participant.model_validate(tomllib.loads(HEAD + body))


def policy(keys: str = "", verb: str = "credit", zone: str = "Asia/Hong_Kong") -> LegPolicy:
    """The policy of a verb whose table has those lines."""
    return read(f'zone = "{zone}"\n[legs.{verb}]\n{keys}').policies()[verb]


def at(zone: str, *clock: int) -> int:
    """A time of day in a zone, in milliseconds since 1970."""
    return round(datetime(*clock, tzinfo=ZoneInfo(zone)).timestamp() * 1_000)  # type: ignore[misc,arg-type]


# -- windows that end at a time of day ----------------------------------------------------------

WINDOWS: Final = (
    # Zone, the begin, the window, its end in UTC.
    ("Asia/Hong_Kong", (2027, 1, 15, 23, 59), "T+1 00:15", (2027, 1, 15, 16, 15)),
    ("Asia/Hong_Kong", (2027, 1, 16, 0, 0), "T+1 00:15", (2027, 1, 16, 16, 15)),
    ("Asia/Hong_Kong", (2027, 1, 31, 12, 0), "T+1 00:15", (2027, 1, 31, 16, 15)),
    ("Asia/Hong_Kong", (2027, 12, 31, 12, 0), "T+1 00:15", (2027, 12, 31, 16, 15)),
    ("Asia/Hong_Kong", (2028, 2, 28, 12, 0), "T+1 00:15", (2028, 2, 28, 16, 15)),
    ("Asia/Hong_Kong", (2028, 2, 29, 12, 0), "T+2 23:59", (2028, 3, 2, 15, 59)),
    ("Asia/Kathmandu", (2027, 1, 15, 12, 0), "T+1 00:15", (2027, 1, 15, 18, 30)),
    ("Asia/Kolkata", (2027, 6, 30, 12, 0), "T+0 23:30", (2027, 6, 30, 18, 0)),
    # The clock goes forward on 14 March 2027 and back on 7 November, at two in the morning.
    ("America/New_York", (2027, 3, 13, 12, 0), "T+1 00:15", (2027, 3, 14, 5, 15)),
    ("America/New_York", (2027, 3, 13, 12, 0), "T+1 03:00", (2027, 3, 14, 7, 0)),
    ("America/New_York", (2027, 3, 14, 12, 0), "T+1 00:15", (2027, 3, 15, 4, 15)),
    ("America/New_York", (2027, 11, 6, 12, 0), "T+1 00:15", (2027, 11, 7, 4, 15)),
    ("America/New_York", (2027, 11, 7, 12, 0), "T+1 00:15", (2027, 11, 8, 5, 15)),
    # Half past two does not exist then; half past one comes twice, and the first one counts.
    ("America/New_York", (2027, 3, 13, 12, 0), "T+1 02:30", (2027, 3, 14, 7, 30)),
    ("America/New_York", (2027, 11, 6, 12, 0), "T+1 01:30", (2027, 11, 7, 5, 30)),
    # Midnight itself does not exist in Beirut on 28 March 2027; Lord Howe moves by half an hour.
    ("Asia/Beirut", (2027, 3, 27, 12, 0), "T+1 00:15", (2027, 3, 27, 22, 15)),
    ("Australia/Lord_Howe", (2027, 4, 3, 12, 0), "T+1 00:15", (2027, 4, 3, 13, 15)),
    ("Australia/Lord_Howe", (2027, 4, 4, 12, 0), "T+1 00:15", (2027, 4, 4, 13, 45)),
    # A duration is a duration, whatever the clock does.
    ("America/New_York", (2027, 3, 13, 12, 0), "24h", (2027, 3, 14, 17, 0)),
)


@pytest.mark.parametrize(("zone", "begin", "window", "end"), WINDOWS)
def test_when_a_window_ends(
    zone: str, begin: tuple[int, ...], window: str, end: tuple[int, ...]
) -> None:
    for key in ("cancel_until", "pending_until", "call_after"):
        found = getattr(policy(f'{key} = "{window}"', zone=zone), key)
        assert found.moment(at(zone, *begin)) == at("UTC", *end), key


ZONES: Final = ("Asia/Hong_Kong", "America/New_York", "Europe/London", "Asia/Kathmandu", "UTC")
BEGINS: Final = st.integers(at("UTC", 2026, 1, 1), at("UTC", 2031, 1, 1))


@given(st.sampled_from(ZONES), BEGINS, st.integers(1, 30), st.integers(0, 1_439))
def test_a_window_ends_on_its_day_at_its_minute(
    zone: str, begin: int, days: int, minute: int
) -> None:
    where = ZoneInfo(zone)
    until = Until(days=days, minute=minute, zone=zone)
    end = until.moment(begin)
    first = datetime.fromtimestamp(begin / 1_000, UTC).astimezone(where).date()
    shown = datetime.fromtimestamp(end / 1_000, UTC).astimezone(where)
    wanted = datetime.combine(first + timedelta(days=days), datetime.min.time(), where)
    clock = wanted.replace(hour=minute // 60, minute=minute % 60)
    there = clock.astimezone(UTC).astimezone(where).replace(tzinfo=None)
    skipped = there != clock.replace(tzinfo=None)  # That minute does not exist on that day.
    assert shown.date() == first + timedelta(days=days)
    if not skipped:
        assert (shown.hour, shown.minute, shown.second) == (minute // 60, minute % 60, 0)
    assert end > begin, "a window that ends before it begins"
    assert end - begin <= (days + 1) * DAY + HOUR
    last = at(zone, first.year, first.month, first.day, 23, 59)
    assert until.moment(last) == end, "the end depends on the day alone"


# -- the pauses of the store-and-forward cancel ------------------------------------------------


PINNED: Final = [17_340, 44_360, 3_668_400]  # Of 20 s, 40 s and an hour.


@given(st.text(min_size=1, max_size=60), st.integers(10, MINUTE), st.integers(0, 9))
def test_pauses_are_quick_first_then_double_up_to_the_slowest(
    leg_id: str, every: int, quick: int
) -> None:
    found = LegPolicy(cancel=True, cancel_every=every, cancel_quick=quick)
    pauses = [found.cancel_pause(leg_id, number) for number in range(1, quick + 30)]
    assert pauses[:quick] == [every] * quick
    for doublings, pause in enumerate(pauses[quick:], 1):
        plain = min(every * 2**doublings, HOUR)
        assert plain * 8 // 10 <= pause <= plain * 12 // 10
    hourly = [pause for pause in pauses[-8:] if every * 2**20 >= HOUR]
    assert all(48 * MINUTE <= pause <= 72 * MINUTE for pause in hourly)
    assert pauses == [found.cancel_pause(leg_id, number) for number in range(1, quick + 30)]


def test_the_jitter_is_the_legs_own_and_the_same_in_every_process() -> None:
    """No salt of the process, and not the same second for all legs of an outage."""
    found = LegPolicy(cancel=True)
    assert [found.cancel_pause("s/credit/1", number) for number in (7, 8, 40)] == PINNED
    spread = {found.cancel_pause(f"s-{number}/credit/1", 30) for number in range(500)}
    assert len(spread) > 250
    assert min(spread) < 50 * MINUTE
    assert max(spread) > 70 * MINUTE
    assert len({found.cancel_pause("s/credit/1", number) for number in range(20, 60)}) > 30


def cancels(found: LegPolicy, sent: int, leg_id: str) -> list[int]:
    """When a cancel that nobody answers is said, until a person is called."""
    leg = Leg("credit/1", 1, Status.UNKNOWN, attempt=1, rungs=found.times or 0, sent_at=sent)
    now, said = sent + 65 * SECOND, []
    while leg.status in IN_FLIGHT:
        event = ladder.timeout_event(leg, found, now)
        to = {Event.GAVE_UP: Status.CANCELLING, Event.TIMED_OUT: leg.status}.get(
            event, Status.SILENT
        )
        moment = ladder.TransitionContext(now, found, leg_id)
        leg = ladder.transitioned(leg, to, ladder.LegUpdate(event=event), moment)
        if leg.status is Status.CANCELLING:
            said.append(now)
            assert len(said) < 1_000, "repeated for ever"
            assert leg.due is not None
            assert leg.due > now
            now = leg.due
    assert leg.status is Status.SILENT
    return [*said, now]


@settings(max_examples=40)
@given(st.uuids().map(str), BEGINS)
def test_a_cancel_is_repeated_until_its_window_ends_and_not_beyond(leg_id: str, sent: int) -> None:
    found = policy('cancel_until = "T+1 00:15"')
    *said, end = cancels(found, sent, leg_id)
    closes = found.cancel_until.moment(sent)
    assert all(moment < closes for moment in said)
    assert end == max(closes, sent + 65 * SECOND)
    pauses = [later - before for before, later in pairwise([*said, end])]
    assert max(pauses, default=0) <= 72 * MINUTE
    if closes - sent > HOUR:
        assert pauses[:6] == [10 * SECOND] * 6
        assert len(said) >= 6 + (closes - sent) // (72 * MINUTE)


# -- when the origin is told, when a person is called -------------------------------------------


def late(found: LegPolicy, status: Status = Status.UNKNOWN, **changed: Any) -> Leg:
    """A leg whose next rung is far away."""
    return Leg("credit/1", 1, status, attempt=1, sent_at=0, due=DAY, since=0, **changed)


WAITING: Final = (Status.UNKNOWN, Status.PENDING, Status.CANCELLING)


@pytest.mark.parametrize("status", WAITING)
def test_the_origin_is_told_when_the_policy_says_so_and_once(status: Status) -> None:
    found = policy('tell_after = "90s"')
    leg = late(found, status)
    assert ladder.next_look(leg, found, told=False) == 90 * SECOND
    assert ladder.next_look(leg, found, told=True) == DAY
    assert not ladder.reports_delay(leg, found, 90 * SECOND - 1)
    assert ladder.reports_delay(leg, found, 90 * SECOND)


@pytest.mark.parametrize("status", WAITING)
def test_a_person_is_called_while_the_ladder_goes_on_and_once(status: Status) -> None:
    found = policy('call_after = "2h"')
    leg = late(found, status)
    assert ladder.next_look(leg, found, told=True) == 2 * HOUR
    assert not ladder.escalates(leg, found, 2 * HOUR - 1)
    assert ladder.escalates(leg, found, 2 * HOUR)
    again = late(found, status, escalated_at=2 * HOUR)
    assert not ladder.escalates(again, found, 3 * HOUR)
    assert ladder.next_look(again, found, told=True) == DAY


def test_nobody_is_told_or_called_while_the_answer_is_not_late() -> None:
    found = policy('tell_after = "90s"\ncall_after = "2h"')
    sent = late(found, Status.SENT)
    assert ladder.next_look(sent, found, told=False) == DAY
    assert not ladder.reports_delay(sent, found, DAY)
    assert not ladder.escalates(sent, found, DAY)
    for status in set(Status) - IN_FLIGHT:
        assert not ladder.reports_delay(late(found, status), found, DAY)
        assert not ladder.escalates(late(found, status), found, DAY)


# -- what the file says ---------------------------------------------------------------------------


def test_the_defaults_are_the_published_ones() -> None:
    """`domain.md` 4.3: the file that says nothing has the numbers of the document."""
    found = policy()
    assert (found.response_timeout, found.every, found.times) == (5_000, 3_000, 20)
    assert (found.rungs, found.cancel) == ((Rung.INQUIRE,), True)
    assert found.cancel_until == Until(days=1, minute=15, zone="Asia/Hong_Kong")
    assert (found.cancel_quick, found.cancel_slowest, found.tell_after) == (6, HOUR, MINUTE)
    assert (found.pending_until, found.pending_times, found.call_after) == (None, None, None)
    assert (found.late_yes, found.late_no) == (DEFAULT.late_yes, DEFAULT.late_no)
    back = policy(verb="return")
    assert (back.rungs, back.times, back.every, back.cancel) == (
        (Rung.RESEND,),
        None,
        15_000,
        False,
    )
    assert not policy(verb="reverse").cancel


MIDDLES: Final = tuple(
    chain for size in range(3) for chain in product(("reverse", "charge"), repeat=size)
)


@pytest.mark.parametrize("middle", [chain for chain in MIDDLES if len(set(chain)) == len(chain)])
@pytest.mark.parametrize("end", ("loss", "park"))
@pytest.mark.parametrize("key", ("late_yes", "late_no"))
def test_a_chain_of_remedies(key: str, middle: tuple[str, ...], end: str) -> None:
    chain = (*middle, end)
    found = policy(f"{key} = {list(chain)}")
    assert getattr(found, key) == tuple(Remedy(word) for word in chain)


VERBS: Final = ("inquire", "cancel", "tombstones", "idempotent")
OFFERS: Final = tuple(
    dict(zip(VERBS, has, strict=True)) for has in product((True, False), repeat=len(VERBS))
)


def verbs(offer: Mapping[str, bool]) -> str:
    """The table of what a participant offers."""
    return "[verbs]\n" + "".join(f"{verb} = {str(has).lower()}\n" for verb, has in offer.items())


@pytest.mark.parametrize("offer", OFFERS, ids=str)
def test_what_is_missing_degrades_the_ladder_and_undoes_nothing(offer: Mapping[str, bool]) -> None:
    """`domain.md` 4.6: no inquiry, no cancel, not idempotent: each in every combination."""
    text = verbs(offer) + "".join(
        f"[legs.{verb}]\n" for verb in ("deduct", "return", "credit", "reverse")
    )
    if offer["cancel"] and not offer["tombstones"]:
        with pytest.raises(ValueError, match="leaves no tombstone decides nothing"):
            read(text)
        return
    for verb, found in read(text).policies().items():
        if not offer["inquire"]:
            assert Rung.INQUIRE not in found.rungs, verb
        if not offer["idempotent"]:
            assert Rung.RESEND not in found.rungs, verb
        undoes = verb in ("return", "reverse")
        assert found.cancel is (offer["cancel"] and not undoes), verb
        assert bool(found.rungs) is (offer["inquire"] or offer["idempotent"]), verb
        if verb == "return":
            assert found.times is None, "a return is repeated for ever"
            wanted = Rung.RESEND if offer["idempotent"] else Rung.INQUIRE
        else:
            wanted = Rung.INQUIRE if offer["inquire"] else Rung.RESEND
        if found.rungs:
            assert found.rungs == (wanted,), verb
        out_of_rungs = late(found, rungs=found.times or 0)
        event = ladder.timeout_event(out_of_rungs, found, SECOND)
        if found.times is not None:
            assert event is (Event.GAVE_UP if found.cancel else Event.EXHAUSTED), verb
        else:
            assert event is Event.TIMED_OUT, verb


# -- what is refused, with file, key and reason -----------------------------------------------

REFUSED: Final = (
    # The file's body, the key, a part of the reason.
    ('[legs.credit]\non_silence = "reject"', "legs.credit.on_silence", "would conclude from sil"),
    ('[legs.credit]\non_silence = "return"', "legs.credit.on_silence", "domain.md I7"),
    ('[legs.deduct]\non_silence = "confirm"', "legs.deduct.on_silence", 'only "park" is possible'),
    ("[legs.reverse]\non_silence = true", "legs.reverse.on_silence", "True would conclude"),
    ("[verbs]\ntombstones = false", "verbs", "undoing on it would be undoing on silence"),
    (
        '[verbs]\ninquire = false\n[legs.credit]\nrungs = ["inquire"]',
        "legs.credit.rungs",
        "[verbs] inquire is false",
    ),
    (
        '[verbs]\nidempotent = false\n[legs.credit]\nrungs = ["inquire", "resend"]',
        "legs.credit.rungs",
        "twice is twice",
    ),
    (
        '[verbs]\nidempotent = false\n[legs.return]\nrungs = ["resend"]',
        "legs.return.rungs",
        "twice is twice",
    ),
    (
        "[verbs]\ncancel = false\n[legs.deduct]\ncancel = true",
        "legs.deduct.cancel",
        "[verbs] cancel is false",
    ),
    ("[legs.return]\ncancel = true", "legs.return.cancel", "Input should be False"),
    ("[legs.reverse]\ncancel = true", "legs.reverse.cancel", "Input should be False"),
    ("[legs.return]\ntimes = 20", "legs.return.times", "Input should be None"),
    ('[legs.credit]\nlate_yes = ["reverse"]', "legs.credit.late_yes", "must end with loss or park"),
    ('[legs.credit]\nlate_yes = ["loss", "park"]', "legs.credit.late_yes", "neither before its"),
    (
        '[legs.credit]\nlate_no = ["charge", "charge", "loss"]',
        "legs.credit.late_no",
        "has a remedy twice",
    ),
    ("[legs.credit]\nlate_no = []", "legs.credit.late_no", "at least 1 item"),
    ('[legs.credit]\nlate_no = ["forget"]', "legs.credit.late_no", "Input should be"),
    (
        '[legs.credit]\nresponse_timeout = "5s"\ntell_after = "4s"',
        "legs.credit",
        "shorter than response_timeout",
    ),
    ('[legs.credit]\ncancel_until = "T+1 24:00"', "legs.credit.cancel_until", "nor T+1 00:15"),
    ('[legs.credit]\ncancel_until = "T+1 0:15"', "legs.credit.cancel_until", "nor T+1 00:15"),
    ('[legs.credit]\ncall_after = "soon"', "legs.credit.call_after", "neither a duration such as"),
    ('[legs.balance]\ncall_after = "1h"', "legs.balance.call_after", "Input should be None"),
    ('[legs.credit]\npending_until = "T-1 00:15"', "legs.credit.pending_until", "nor T+1 00:15"),
    ('[legs.credit]\ntell_after = "31d"', "legs.credit.tell_after", "less than or equal to"),
    ('zone = "Asia/Atlantis"', "zone", "is not an IANA time zone"),
)


@pytest.mark.parametrize(("body", "key", "why"), REFUSED)
def test_what_is_refused_is_told_with_file_key_and_reason(
    tmp_path: Path, body: str, key: str, why: str
) -> None:
    folder = tmp_path / "participants"
    folder.mkdir()
    (folder / "p.toml").write_text(HEAD + body, "utf-8")
    with pytest.raises(CatalogueError) as caught:
        load(tmp_path)
    ours = [one for one in caught.value.problems if one.file == "participants/p.toml"]
    assert [one for one in ours if one.key.startswith(key) and why in one.why], str(caught.value)


def test_a_window_that_is_over_when_it_begins_leaves_it_to_a_person() -> None:
    """`T+0 09:00` for what is sent at noon: no cancel is said, and nothing concluded."""
    found = policy('cancel_until = "T+0 09:00"')
    noon = at("Asia/Hong_Kong", 2027, 1, 15, 12, 0)
    leg = Leg("credit/1", 1, Status.UNKNOWN, attempt=1, rungs=20, sent_at=noon)
    assert ladder.timeout_event(leg, found, noon + MINUTE) is Event.EXHAUSTED
    assert cancels(found, noon, "s") == [noon + 65 * SECOND]
