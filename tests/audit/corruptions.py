"""What is broken in a clean database on purpose, and which invariants must say so."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class Plant:
    """One corruption of one saga, and which invariants it breaks."""

    what: str
    kind: str
    breaks: str
    statements: tuple[str, ...]


def at(path: str, value: str, column: str = "state") -> str:
    """Change one place in the JSON of a saga."""
    return (
        f"update saga set {column} = jsonb_set({column}::jsonb, '{{{path}}}', '{value}')::text"
        " where saga_id = {saga}"
    )


JOURNAL: Final = "saga_id = {saga}"
PLANTS: Final = (
    Plant(
        "success is told, and nothing was given",
        "returned",
        "I1",
        (at("1,1", '"SUCCESS"'), "update saga set status = 'SUCCESS' where saga_id = {saga}"),
    ),
    Plant(
        "a thousand points were not returned",
        "returned",
        "I1 I11",
        (
            at("0,2,8", "24000"),
            "update transfer set amount = 24000 where credit like 'citi/member/%' and " + JOURNAL,
        ),
    ),
    Plant(
        "a point too few was consumed",
        "one-line",
        "I1 I3 I11",
        ("update transfer set amount = amount - 1 where credit = 'citi/redeemed' and " + JOURNAL,),
    ),
    Plant(
        "a loss is borne by nobody",
        "lost",
        "I2",
        (
            at("16", '""', "terms"),
            "update transfer set debit = '/loss' where debit = 'platform/loss' and " + JOURNAL,
        ),
    ),
    Plant(
        "a loss is missing",
        "lost",
        "I1 I2 I8 I11",
        (
            "update saga set state = (state::jsonb #- '{0,5}')::text where saga_id = {saga}",
            "delete from transfer where debit = 'platform/loss' and " + JOURNAL,
        ),
    ),
    Plant(
        "a movement of pieces is missing",
        "success",
        "I3",
        ("delete from transfer where unit = 'alipayhk:hkd20' and " + JOURNAL,),
    ),
    Plant(
        "points went back to another member",
        "returned",
        "I3",
        ("update transfer set credit = 'citi/member/x' where debit = 'uprp/suspense' and "
         + JOURNAL,),
    ),
    Plant(
        "a coupon of another kind was booked",
        "one-line",
        "I3",
        ("update transfer set unit = 'alipayhk:hkd20' where unit like 'alipayhk:%' and "
         + JOURNAL,),
    ),
    Plant(
        "a command was said that nobody wrote down",
        "one-line",
        "I3",
        ("update timeline set detail = replace(detail, 'do credit/1#1', '') where revision = 2 and "
         + JOURNAL,),
    ),
    Plant(
        "an event that moved something is missing",
        "pending",
        "I3",
        ("delete from timeline where revision = 4 and " + JOURNAL,),
    ),
    Plant(
        "the saga of some movements is missing",
        "asked-whole",
        "I3",
        ("delete from saga where saga_id = {saga}",),
    ),
    Plant(
        "the saga of some movements is missing, and a limit has it still",
        "success",
        "I3 I5",
        ("delete from saga where saga_id = {saga}",),
    ),
    Plant("a leg was never asked for", "one-line", "I3", (at("0,1,3", "0"),)),
    Plant("what is decided has a timer", "one-line", "I4", (at("0,0,7", "1800000000000"),)),
    Plant(
        "it ended, and a leg is not answered",
        "cancelled",
        "I4 I7",
        (at("0,1,2", '"unknown"'), at("0,1,7", "4102444800000"),
         "update saga set due_at = now() where saga_id = {saga}"),
    ),
    Plant(
        "a limit is one too high",
        "success",
        "I5",
        ("update account_limit set used = used + 1 where scope like '%/{account}/daily'",),
    ),
    Plant(
        "a limit was not released",
        "returned",
        "I5",
        ("update account_limit set used = 10000 where scope like '%/{account}/daily'",),
    ),
    Plant(
        "a limit is missing",
        "pending",
        "I5",
        ("delete from account_limit where scope like '%/{account}/daily'",),
    ),
    Plant(
        "more was redeemed than the programme allows",
        "one-line",
        "I5",
        (
            at("11,0,4", "100001", "terms"),
            "update account_limit set used = 100001 where scope like '%/{account}/daily'",
        ),
    ),
    Plant(
        "the final result was told twice",
        "one-line",
        "I6",
        ("""update timeline set detail = replace(detail, '"said":[', '"said":["result #1",')
            where revision = 2 and """ + JOURNAL,),
    ),
    Plant(
        "there are two final results",
        "one-line",
        "I6",
        (
            "update saga set revision = revision + 1 where saga_id = {saga}",
            """insert into timeline select key_hash, saga_id, 4, at, event,
               replace(replace(detail, 'result #1', 'result #2'), 'replies/0/', 'replies/9/')
               from timeline where revision = 3 and """ + JOURNAL,
        ),
    ),
    Plant(
        "operators see what was not told",
        "partial",
        "I6",
        ("update saga set status = 'SUCCESS' where saga_id = {saga}",),
    ),
    Plant(
        "points are returned while it is not known what was given",
        "returning",
        "I7",
        (
            at("0,1,2", '"pending"'),
            """update saga set state = jsonb_set(state::jsonb, '{0,1,7}',
               state::jsonb#>'{0,2,7}') where saga_id = {saga}""",
        ),
    ),
    Plant(
        "what was cancelled was done",
        "cancelled",
        "I1 I2 I3 I5 I8",
        (at("0,1,8", "2"),),
    ),
    Plant("the content of a request is not known", "success", "I9", (at("2", '""', "terms"),)),
    Plant(
        "one request is two sagas",
        "refused",
        "I9",
        (
            """insert into saga select key_hash, '{other}', revision, due_at, status, origin,
               account, request_id, programme, programme_version, accepted_at, terms, state
               from saga where saga_id = {saga}""",
            """insert into timeline select key_hash, '{other}', revision, at, event, detail
               from timeline where """ + JOURNAL,
        ),
    ),
    Plant(
        "the journal may be changed",
        "success",
        "I10",
        ("drop trigger append_only on transfer",),
    ),
    Plant(
        "the timeline may be changed",
        "success",
        "I10",
        ("alter table timeline disable trigger append_only",),
    ),
    Plant(
        "a movement moves nothing",
        "success",
        "I10",
        (
            "alter table transfer drop constraint transfer_amount_check",
            """insert into transfer select key_hash, saga_id, seq + 6, debit, credit, unit, 0
               from transfer where debit like 'citi/member/%' and """ + JOURNAL,
        ),
    ),
    Plant(
        "a case states another amount",
        "return-refused",
        "I11",
        ("update parked_case set stake = stake - 1 where " + JOURNAL,),
    ),
    Plant(
        "one record counted twice",
        "success",
        "I12",
        ("""update timeline t set detail = replace(t.detail, t.detail::json->>'record',
            o.detail::json->>'record') from timeline o
            where o.saga_id = t.saga_id and o.revision = 2 and t.revision = 3 and t.""" + JOURNAL,),
    ),
    Plant(
        "a reader went back",
        "success",
        "I12",
        ("update position set next_offset = previous_offset where topic = 'uprp.citi.replies'",),
    ),
    Plant(
        "the beginning is missing",
        "nothing-deducted",
        "I3 I12",
        ("delete from timeline where revision = 1 and " + JOURNAL,),
    ),
    Plant(
        "no timer will ring",
        "deducting",
        "I13",
        ("update saga set due_at = null where saga_id = {saga}",),
    ),
    Plant(
        "the correction has no timer",
        "correcting",
        "I13",
        ("update saga set due_at = null where saga_id = {saga}",),
    ),
    Plant(
        "a timer is long overdue",
        "pending",
        "I13",
        ("update saga set due_at = now() - interval '3 hours' where saga_id = {saga}",),
    ),
    Plant(
        "a timer rings too late",
        "deducting",
        "I13",
        ("update saga set due_at = due_at + interval '2 seconds' where saga_id = {saga}",),
    ),
    Plant(
        "a case was closed by hand",
        "silent",
        "I13",
        ("update parked_case set closed_at = now() where " + JOURNAL,),
    ),
    Plant(
        "a case is open about nothing",
        "success",
        "I13",
        ("""insert into parked_case select key_hash, saga_id, now(), 'deduct', 'TIMEOUT', 0,
            'citi-points' from saga where saga_id = {saga}""",),
    ),
    Plant(
        "it waits for nobody",
        "deducting",
        "I13",
        (at("0,0,2", '"waiting"'),),
    ),
    Plant(
        "a question moved something",
        "balance-answered",
        "I14",
        ("""insert into transfer select key_hash, saga_id, 8, 'citi/member/x', 'citi/redeemed',
            'citi-points', 5 from saga where saga_id = {saga}""",),
    ),
    Plant(
        "a question used a limit",
        "balance-answered",
        "I5",
        ("""insert into account_limit
            select key_hash, 'alipayhk/{account}/daily', '2027-01-15', 5000 from saga
            where saga_id = {saga}""",),
    ),
    Plant(
        "a question stands in the timeline",
        "balance-refused",
        "I14",
        ("""insert into timeline select key_hash, saga_id, 1, now(), 'requested', '{}' from saga
            where saga_id = {saga}""",),
    ),
    Plant(
        "a person was called about a question",
        "balance-unavailable",
        "I14",
        ("""insert into parked_case select key_hash, saga_id, now(), 'balance', 'TIMEOUT', 0, ''
            from saga where saga_id = {saga}""",),
    ),
    Plant(
        "an answer was not forgotten when its time was over",
        "balance-answered",
        "I14",
        (at("1,5", "1700000000000"),),
    ),
    Plant(
        "an answer will not be forgotten",
        "balance-unavailable",
        "I14",
        ("update saga set due_at = null where saga_id = {saga}",),
    ),
    Plant(
        "the time of a question is over, and nobody says so",
        "balance-asked",
        "I14",
        ("update saga set due_at = now() - interval '3 hours' where saga_id = {saga}",),
    ),
    Plant(
        "a question was answered without figures",
        "balance-answered",
        "I14",
        (at("0,0,11", "null"),),
    ),
    Plant(
        "a question was answered twice",
        "balance-answered",
        "I14",
        (at("1,0", "2"),),
    ),
    Plant(
        "one question is two sagas",
        "balance-refused",
        "I9",
        ("""insert into saga select key_hash, '{other}', revision, due_at, status, origin, account,
            request_id, programme, programme_version, accepted_at, terms, state
            from saga where saga_id = {saga}""",),
    ),
)  # fmt: skip
OTHER: Final = "00000000-0000-5000-8000-000000000009"
NAMES_ANOTHER: Final = {
    "the journal may be changed": "transfer",
    "the timeline may be changed": "timeline",
    "a movement moves nothing": "transfer",
    "a reader went back": "uprp.citi.replies/0",
}


def filled(statement: str, saga: str, account: str) -> str:
    """A statement about one saga."""
    words = {"{saga}": f"'{saga}'", "{account}": account, "{other}": OTHER}
    for hole, word in words.items():
        statement = statement.replace(hole, word)
    return statement
