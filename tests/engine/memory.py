"""The platform in memory: the real decisions on rows, logs and limits that are plain dicts.

It can be killed between any two phases of a batch. What must hold at every commit is checked at
every commit.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import orjson

from orchestrator.admission.gate import Allowance
from orchestrator.batch.decide import Decider
from orchestrator.batch.decode import InboundEvent, decode, routes
from orchestrator.batch.effects import BatchResult
from orchestrator.catalogue import loader as catalogues
from orchestrator.engine import codec, outbox
from orchestrator.engine.instance import Saga
from orchestrator.engine.kind import LimitKey
from orchestrator.engine.policy import LegPolicy, Policies
from orchestrator.ports import (
    Case,
    Changes,
    DeadLetterReason,
    DecisionRow,
    Outgoing,
    Partition,
    Record,
)
from schemas import events
from schemas.dead_letters import DeadLetter
from schemas.envelope import PLATFORM_SOURCE, Envelope, source_of
from schemas.events import Channel, topic_of
from schemas.ids import SagaId, partition_key
from tests.engine.sums import accounts, issued_late, pieces, sums

DEPLOY: Final = Path(__file__).parents[2] / "deploy"
START: Final = 1_800_000_000_000
LEASE_MS: Final = 10_000
LIMIT: Final = 100_000
"""The day's limit of an account in minor units (`domain.md` C11)."""


class TooMuch(AssertionError):
    """An account's limit is exceeded."""


def short_catalogue(times: int = 2) -> catalogues.Catalogue:
    """What is on offer in `deploy/`, with ladders that end soon."""
    found = catalogues.load(DEPLOY)
    ladders = {leg: _short(policy, times) for leg, policy in found.policies.by_leg.items()}
    return replace(found, policies=Policies(ladders))


def _short(policy: LegPolicy, times: int) -> LegPolicy:
    return replace(policy, times=policy.times and times)


def why_of(letter: DeadLetter) -> DeadLetterReason:
    """What a dead letter's row tells of why it is one; no text of a row holds U+0000."""
    field, message = letter.field.replace("\0", "?"), letter.message.replace("\0", "?")
    return DeadLetterReason(letter.error_class, field, message, letter.disposition)


_CATALOGUE: Final = short_catalogue()


@dataclass
class Platform:
    """One coordinator, its database and its topics."""

    decider: Decider = field(default_factory=lambda: Decider(_CATALOGUE, "uprp"))
    now: int = START
    rows: dict[SagaId, tuple[Saga, str, str, int, int | None]] = field(default_factory=dict)
    used: Counter[LimitKey] = field(default_factory=Counter)
    books: Counter[tuple[str, str]] = field(default_factory=Counter)
    log: dict[Partition, list[Record]] = field(default_factory=dict)
    positions: Counter[Partition] = field(default_factory=Counter)
    offsets: Counter[Partition] = field(default_factory=Counter)
    timeline: set[tuple[SagaId, int]] = field(default_factory=set)
    movements: set[tuple[SagaId, int]] = field(default_factory=set)
    published: dict[str, bytes | None] = field(default_factory=dict)
    outgoing: list[Outgoing] = field(default_factory=list)
    letters: list[Any] = field(default_factory=list)
    cases: dict[SagaId, Case] = field(default_factory=dict)
    made: dict[int, DecisionRow] = field(default_factory=dict)
    refusals: dict[int, str] = field(default_factory=dict)
    allowances: Mapping[str, Allowance] = field(default_factory=dict)  # What participants can take.
    _events: int = 0

    # -- the way in ---------------------------------------------------------------------------

    def arrive(
        self, participant: str, type_: str, key: str | None, data: Mapping[str, Any], **head: Any
    ) -> Record:
        """Append an event to the topic that its type belongs on."""
        channels = {event.name: event.channel for event in events.EVENTS}
        channel = channels[type_]
        internal = channel is Channel.INTERNAL
        topic = events.INTERNAL_TOPIC if internal else topic_of(participant, channel)
        source = PLATFORM_SOURCE if internal else source_of(participant)
        self._events += 1
        time = head.pop("time", "2027-01-15T08:00:00Z")
        envelope = Envelope(f"e-{self._events}", source, type_, time, **head)
        log = self.log.setdefault((topic, 0), [])
        headers = tuple(envelope.headers())
        value = orjson.dumps(data)
        record = Record(topic, 0, len(log), key.encode() if key else None, value, headers)
        log.append(record)
        return record

    def request(self, data: Mapping[str, Any], origin: str = "alipayhk") -> Record:
        """A redemption request."""
        key = partition_key(origin, data["account"])
        return self.arrive(origin, events.REQUESTED, key, data)

    def waiting(self) -> list[Partition]:
        """The partitions that have records beyond the committed offsets."""
        return [part for part, log in self.log.items() if self.offsets[part] < len(log)]

    # -- one batch ----------------------------------------------------------------------------

    def batch(self, count: int = 100, published: int | None = None, order: int = 0) -> BatchResult:
        """Read, decide, commit, publish; with `published` it dies after so many records."""
        records = self._poll(count, order)
        arrivals = [arrival for record in records for arrival in self._decode(record)]
        decision = self.decide(arrivals)
        self.commit(decision, arrivals)
        for record in records:
            part = (record.topic, record.partition)
            self.positions[part] = max(self.positions[part], record.offset + 1)
        self._publish(decision.outgoing[:published])
        if published is None or published >= len(decision.outgoing):
            for record in records:
                self.offsets[record.topic, record.partition] = record.offset + 1
            if not any(self.offsets[part] < self.positions[part] for part in self.log):
                self._check_said()
        return decision

    def _poll(self, count: int, order: int) -> list[Record]:
        waiting = self.waiting()
        turn = order % len(waiting) if waiting else 0
        records: list[Record] = []
        for part in waiting[turn:] + waiting[:turn]:
            start = self.offsets[part]
            records += self.log[part][start : start + count - len(records)]
        return records

    def _decode(self, record: Record) -> list[InboundEvent]:
        route = routes(self.decider.catalogue.participants)[record.topic]
        before = record.offset < self.positions[record.topic, record.partition]
        return decode(record, route, redelivered=before, inbound=self.decider.inbound)

    def decide(self, arrivals: Sequence[InboundEvent]) -> BatchResult:
        """The decisions, on rows as a database would give them."""
        needs = self.decider.needs(arrivals, self.now)
        wanted = {saga for _, saga in needs.keys}.union(needs.strays)
        loaded = {saga_id: self.saga(saga_id) for saga_id in wanted if saga_id in self.rows}
        used = {key: self.used[key] for key in needs.limits if key in self.used}
        made = {id_: self.made[id_] for _, id_ in needs.decisions if id_ in self.made}
        aside = {
            (letter.topic, letter.partition, letter.offset): why_of(letter)
            for letter in self.letters
            if (letter.topic, letter.partition, letter.offset) in needs.places
        }
        return self.decider.decide(
            arrivals,
            loaded,
            used,
            self.now,
            made=made,
            aside=aside,
            allowances=self.allowances,
        )

    def saga(self, saga_id: SagaId) -> Saga:
        """The saga, from its row."""
        kept, terms_json, state, revision, wake_at = self.rows[saga_id]
        named = kept.terms
        terms = codec.decode_terms(
            terms_json,
            self.decider.catalogue.kinds,
            saga_id=saga_id,
            key_hash=named.key_hash,
            origin=named.origin,
            account=named.account,
            request_id=named.request_id,
            programme=named.programme,
            programme_version=named.programme_version,
            accepted_at=named.accepted_at,
        )
        return codec.decode_state(state, terms, self.decider.catalogue.kinds, revision, wake_at)

    def sagas(self) -> list[Saga]:
        """Every saga, in the order of their beginning."""
        return [self.saga(saga_id) for saga_id in self.rows]

    def commit(self, decision: BatchResult, arrivals: Sequence[InboundEvent]) -> None:
        """The transaction, with the database's own constraints."""
        changes = decision.changes
        if arrivals and all(arrival.redelivered for arrival in arrivals):
            changed = (changes.sagas, changes.timeline, changes.movements, changes.limits)
            assert not any(changed), f"redelivery changed something: {changed}"
            assert not changes.dead_letters, "redelivery set something aside again"
        for saga_id, change in changes.sagas.items():
            if change.was is None:
                assert saga_id not in self.rows, "two sagas of one id"
            else:
                assert self.rows[saga_id][3] == change.was.revision, "another revision"
            now = change.now
            self._write(now, now.revision, now.wake_at)
        self._forget(changes)
        for entry in changes.timeline:
            assert (entry.key[1], entry.revision) not in self.timeline, "a revision twice"
            self.timeline.add((entry.key[1], entry.revision))
        for move in changes.movements:
            assert (move.key[1], move.seq) not in self.movements, "a movement twice"
            self.movements.add((move.key[1], move.seq))
            transfer = move.transfer
            self.books[transfer.debit, transfer.unit] -= transfer.amount
            self.books[transfer.credit, transfer.unit] += transfer.amount
        for key, limit in changes.limits.items():
            assert limit.was in (None, self.used[key]), "a limit is not what was read"
            self.used[key] += limit.delta
        for settled in changes.settled:
            row = self.made[settled.key[1]]
            assert not row.settled, "a decision settled twice"
            assert row.saga_id in changes.sagas or settled.why, "applied to nothing"
            self.made[settled.key[1]] = replace(row, settled=True)
            if settled.why is not None:
                self.refusals[settled.key[1]] = settled.why
        self.letters += changes.dead_letters
        for saga_id, case in changes.cases.items():
            if case.closed:
                self.cases.pop(saga_id, None)  # It may have been opened in the same batch.
            else:
                self.cases[saga_id] = case
        self._check_limits()
        self._check_books()
        self._check_cases()

    def _forget(self, changes: Changes) -> None:
        for (_, saga_id), revision in changes.forgotten.items():
            assert self.rows.pop(saga_id)[3] == revision, "another revision"

    def _redemptions(self) -> Iterator[Saga]:
        """The sagas that move points; others have neither lines nor a place in the books."""
        for saga, *_ in self.rows.values():
            if saga.terms.definition == "redemption":
                yield saga

    def _write(self, saga: Saga, revision: int, wake_at: int | None) -> None:
        row = (
            saga,
            codec.encode_terms(saga.terms, self.decider.catalogue.kinds),
            codec.encode_state(saga),
            revision,
            wake_at,
        )
        self.rows[saga.terms.saga_id] = row

    # -- the way out --------------------------------------------------------------------------

    def _publish(self, records: Sequence[Outgoing]) -> None:
        for record in records:
            event_id = dict(record.headers)["ce_id"]
            name = f"{record.topic} {(event_id or b'').decode()}"
            said = self.published.setdefault(name, record.value)
            # A reading of what nobody knows is made anew; everything else says the same again.
            reading = name.endswith("#r0")
            assert reading or said == record.value, f"{name}: {said!r}, now {record.value!r}"
            self.outgoing.append(record)

    def names(self, saga: Saga) -> set[str]:
        """The topics and event ids of all that a saga's state implies must have been said."""
        words = self.decider.kinds.of(saga.terms).messages
        found = set()
        for one in outbox.outstanding(saga):
            message = words.message(saga, one)
            found.add(f"{topic_of(message.participant, message.channel)} {message.event_id}")
        return found

    # -- timers -------------------------------------------------------------------------------

    def next_due(self) -> int | None:
        """When the first timer rings."""
        return min((row[4] for row in self.rows.values() if row[4] is not None), default=None)

    def ring(self) -> int:
        """Lease every due saga and publish its timer; how many."""
        due = [saga for saga, row in self.rows.items() if row[4] is not None and row[4] <= self.now]
        for saga_id in due:
            kept, _, _, revision, _ = self.rows[saga_id]
            self._write(self.saga(saga_id), revision, self.now + LEASE_MS)
            key = partition_key(kept.terms.origin, kept.terms.account)
            fired = {"saga_id": saga_id, "bucket": kept.terms.key_hash, "revision": revision}
            self.arrive("", events.TIMERS, key, {"timers": [fired]})
        return len(due)

    # -- what must hold at every commit -------------------------------------------------------

    def _check_limits(self) -> None:
        """I5: usage is the worth of what was accepted and did not fail; never above the limit.

        But what was given after all is honoured, though others used its room (`domain.md` 7).
        """
        expected: Counter[LimitKey] = Counter()
        late: set[str] = set()
        for saga in self._redemptions():
            terms = saga.terms
            if issued_late(saga):
                late.add(terms.body.limit)
            if terms.body.limit and terms.body.business_date and saga.legs:
                key = (terms.key_hash, terms.body.limit, terms.body.business_date)
                kept = zip(terms.body.lines, pieces(saga), strict=True)
                issued = sum(line.worth * n // line.quantity for line, n in kept)
                expected[key] += issued if saga.ended else terms.body.worth
        assert +self.used == +expected, f"limits: {+self.used}, should be {+expected}"
        if any(used > LIMIT and key[1] not in late for key, used in self.used.items()):
            raise TooMuch(self.used)

    def _check_books(self) -> None:
        """I10, I11: every account holds what the legs of all sagas add up to."""
        expected: Counter[tuple[str, str]] = Counter()
        for saga in self._redemptions():
            expected.update(accounts(saga, sums(saga)))
        names = set(expected) | set(self.books)
        wrong = {name for name in names if self.books[name] != expected[name]}
        assert not wrong, {name: (self.books[name], expected[name]) for name in wrong}

    def _check_cases(self) -> None:
        """I11: whatever waits for a person has a case, and nothing else has, with its stake."""
        parked = {saga.terms.saga_id: saga for saga, *_ in self.rows.values() if saga.parked}
        assert set(self.cases) == set(parked), (self.cases, parked)
        for saga_id, saga in parked.items():
            now = sums(saga)
            stake = now.taken + now.covered - now.returned - now.forgone - now.price
            assert self.cases[saga_id].stake == stake, (self.cases[saga_id], stake)

    def _check_said(self) -> None:
        """Nothing is owed: what every state implies was published at least once."""
        for saga, *_ in self.rows.values():
            owed = self.names(saga) - self.published.keys()
            assert not owed, f"never said: {owed}"
