"""The admission controller: what one coordinator may let through, given the participants' health.

It has no clock and no await. The coordinator's loop reports to it what was read and committed, and
`orchestrator/admission/sync.py` what all coordinators together know. Times are in milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from orchestrator.admission.board import HealthReport, SharedHealth
from orchestrator.admission.breaker import (
    Breaker,
    Counts,
    HealthPolicy,
    State,
    Window,
    merged,
    moved,
    noted,
)
from orchestrator.admission.gate import (
    Admitted,
    Allowance,
    Slot,
    TokenBucket,
    allowance,
    refilled,
    spent,
)
from orchestrator.admission.outcomes import ParticipantOutcomes, observe
from orchestrator.ports import Change, Record
from orchestrator.sagas import KINDS, Kinds
from schemas.events import Channel, topic_of

DEAF_MS: Final = 1_000
"""If replies are read that late, or nothing is read for so long, missing answers do not count.

In milliseconds.
"""
_SAMPLE: Final = 64
"""Of how many records of a poll the age is checked."""


@dataclass(slots=True)
class _Watch:
    """What this coordinator knows about one participant."""

    policy: HealthPolicy
    breaker: Breaker = field(default_factory=Breaker)
    window: Window = field(default_factory=dict)  # Seen here since the breaker last moved.
    unshared: bool = False  # Whether the window has something that was not shared yet.
    seen: Counts = field(default_factory=Counts)  # By all coordinators together.
    in_flight: int = 0  # Legs of all coordinators together, when that was last read.
    started: int = 0  # Legs that came into flight here since before that was read.
    finished: int = 0  # Legs that left flight here since after that was read.
    probed: int = 0  # Sagas that were let through here since the breaker last moved.
    bucket: TokenBucket | None = None  # None: no rate is set, or it was never asked for.

    @property
    def bounded(self) -> bool:
        """Whether anything can limit what the participant gets now."""
        policy, closed = self.policy, self.breaker.state is State.CLOSED
        return not (closed and policy.in_flight_max is None and policy.rate_per_s is None)


class AdmissionController:
    """Counts outcomes here, and turns what all coordinators know together into allowances."""

    def __init__(self, policies: Mapping[str, HealthPolicy], kinds: Kinds = KINDS) -> None:
        self._kinds = kinds
        self._watches = {name: _Watch(policy) for name, policy in policies.items()}
        self._part = Slot()
        self._bounded: list[str] = []
        self._since: dict[str, int] = {}  # When each breaker last moved, if it ever did.
        self._heard_at = 0  # When a poll last returned.
        self._listening: dict[str, int] = {}  # Since when replies are read without delay.
        self._topics = {topic_of(name, Channel.REPLIES): name for name in policies}
        self.learned_at: int | None = None  # When what all coordinators know was last read.
        self._find_bounded()

    # -- reports of the loop ------------------------------------------------------------------

    def heard(self, records: Sequence[Record], now: int) -> None:
        """Report that a poll returned: whether this coordinator reads replies without delay.

        Only then does a missing answer say anything about its participant.
        """
        if now - self._heard_at > DEAF_MS:
            self._listening = dict.fromkeys(self._watches, now)
        self._heard_at = now
        for record in records[:: 1 + len(records) // _SAMPLE]:
            late = record.timestamp and now - record.timestamp > DEAF_MS
            if late and (name := self._topics.get(record.topic)) is not None:
                self._listening[name] = now

    def observe(self, changes: Iterable[Change]) -> ParticipantOutcomes:
        """What the changes of a batch show of the participants; it is not counted yet."""
        return observe(changes, self._since, self._listening, self._kinds)

    def committed(
        self, outcomes: ParticipantOutcomes, taken: Mapping[str, Admitted], now: int
    ) -> None:
        """Count what a batch showed and what the gate let through, once it is committed."""
        for name, seen in outcomes.seen.items():
            watch = self._watches.get(name)
            if watch is not None:
                watch.window = noted(watch.window, watch.policy, seen, now)
                watch.unshared = True
        for name, change in outcomes.in_flight.items():
            watch = self._watches.get(name)
            if watch is not None:
                watch.started += max(0, change)
                watch.finished -= min(0, change)
        for name, took in taken.items():
            watch = self._watches[name]
            watch.probed += took.sagas
            if watch.bucket is not None:
                watch.bucket = spent(watch.bucket, took.legs)

    def allowances(self, now: int) -> Mapping[str, Allowance]:
        """What may be let through now to each participant; one that is missing is unlimited."""
        allowances = {}
        for name in self._bounded:
            watch = self._watches[name]
            watch.bucket = refilled(watch.bucket, watch.policy, self._part, now)
            allowances[name] = allowance(
                watch.policy,
                watch.breaker,
                self._part,
                in_flight=watch.in_flight,
                change=watch.started - watch.finished,
                probed=watch.probed,
                bucket=watch.bucket,
            )
        return allowances

    # -- what all coordinators know -----------------------------------------------------------

    def unshared(self) -> list[HealthReport]:
        """What was seen here and not shared yet."""
        return [
            HealthReport(name, watch.breaker.revision, watch.window)
            for name, watch in self._watches.items()
            if watch.unshared
        ]

    def mark_shared(self, sights: Iterable[HealthReport]) -> None:
        """Note that those reports are shared; what was seen since then is not."""
        for sight in sights:
            watch = self._watches[sight.participant]
            watch.unshared = watch.window is not sight.window

    def snapshot(self) -> Mapping[str, int]:
        """The legs started here before the shared figures are read, by participant; for `merge`."""
        return {name: watch.started for name, watch in self._watches.items()}

    def merge(self, shared: SharedHealth, mark: Mapping[str, int], now: int) -> None:
        """Take over what all coordinators know together.

        What was committed here while the figures were read may or may not be part of them. Until
        they are read again, legs started in that time may count twice, and legs finished in that
        time do not count: the estimate is never too low.

        Args:
            shared: what was read.
            mark: the `snapshot` from before it was read.
            now: the time.
        """
        self._part = shared.part
        self.learned_at = now
        for name, watch in self._watches.items():
            self._follow(name, shared.breakers.get(name, Breaker()))
            current = watch.breaker.revision
            windows = [
                sight.window
                for sight in shared.sights
                if sight.participant == name and sight.revision == current
            ]
            watch.seen = merged(windows, watch.policy, now)
            watch.in_flight = shared.in_flight.get(name, 0)
            watch.started -= mark[name]
            watch.finished = 0
        self._find_bounded()

    def due_transitions(self, now: int) -> Iterator[tuple[str, Breaker, Counts]]:
        """The breakers that are to move by what all coordinators saw: to what, and due to what."""
        for name, watch in self._watches.items():
            to = moved(watch.breaker, watch.policy, watch.seen, now)
            if to is not None:
                yield name, to, watch.seen

    def adopt(self, name: str, breaker: Breaker) -> None:
        """Take over a breaker that has moved."""
        self._follow(name, breaker)
        self._find_bounded()

    def standings(self) -> Iterator[tuple[str, Breaker, int]]:
        """Each participant with its breaker and its legs in flight, for the metrics."""
        for name, watch in self._watches.items():
            yield name, watch.breaker, watch.in_flight

    def _follow(self, name: str, breaker: Breaker) -> None:
        """Take over a breaker; if it moved, drop what was seen before that."""
        watch = self._watches[name]
        if breaker != watch.breaker:
            watch.breaker, watch.window, watch.probed = breaker, {}, 0
            watch.seen, watch.unshared = Counts(), False
            self._since[name] = breaker.since

    def _find_bounded(self) -> None:
        self._bounded = [name for name, watch in self._watches.items() if watch.bounded]
