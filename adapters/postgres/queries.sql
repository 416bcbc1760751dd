-- Every statement, named and described. A block begins with its name; `hot` marks those that run for
-- every batch, which must name the key hash (design.md 9).

-- load_sagas (hot) --
-- The sagas of a batch. Not locked: the compare-and-set of update_sagas sees what changed since.
select s.key_hash, s.saga_id, s.revision, s.due_at, s.origin, s.account, s.request_id, s.programme,
       s.programme_version, s.accepted_at, s.terms, s.state
from unnest($1::smallint[], $2::uuid[]) as k (key_hash, saga_id)
join saga s on s.key_hash = k.key_hash and s.saga_id = k.saga_id
order by s.key_hash, s.saga_id

-- load_revisions (hot) --
-- At which revision sagas are, when nothing else of them is asked for.
select s.saga_id, s.revision
from unnest($1::smallint[], $2::uuid[]) as k (key_hash, saga_id)
join saga s on s.key_hash = k.key_hash and s.saga_id = k.saga_id

-- find_saga --
-- One saga by its id alone: a probe in each bucket. Slow on purpose; no index serves it.
select s.key_hash
from generate_series(0, 4095) as k (key_hash)
join saga s on s.key_hash = k.key_hash::smallint and s.saga_id = $1

-- load_limits (hot) --
-- How much of each limit is used. Not locked: move_limits sees what changed since.
select l.key_hash, l.scope, l.business_date, l.used
from unnest($1::smallint[], $2::text[], $3::date[]) as k (key_hash, scope, business_date)
join account_limit l
  on l.key_hash = k.key_hash and l.scope = k.scope and l.business_date = k.business_date

-- update_sagas (hot) --
-- Compare and set: a saga that is not at the revision that was read is left alone, seen by the count.
update saga s
set revision = v.revision, due_at = v.due_at, status = v.status, state = v.state
from unnest($1::smallint[], $2::uuid[], $3::integer[], $4::integer[], $5::timestamptz[], $6::text[],
            $7::text[])
  as v (key_hash, saga_id, expected, revision, due_at, status, state)
where s.key_hash = v.key_hash and s.saga_id = v.saga_id and s.revision = v.expected

-- forget_sagas (hot) --
-- Delete sagas of kinds that are not kept, at the revision that was read; what is gone is seen by the count.
delete from saga s
using unnest($1::smallint[], $2::uuid[], $3::integer[]) as gone (key_hash, saga_id, revision)
where s.key_hash = gone.key_hash and s.saga_id = gone.saga_id and s.revision = gone.revision;

-- begin_limits (hot) --
-- Limits that were read as unused, or not read; the new usage tells whether they were.
insert into account_limit as l (key_hash, scope, business_date, used)
select v.key_hash, v.scope, v.business_date, v.delta
from unnest($1::smallint[], $2::text[], $3::date[], $4::bigint[])
  as v (key_hash, scope, business_date, delta)
on conflict (key_hash, scope, business_date) do update set used = l.used + excluded.used
returning key_hash, scope, business_date, used

-- move_limits (hot) --
-- Compare and set: a limit whose usage is not what was read is left alone, seen by the count.
update account_limit l
set used = l.used + v.delta
from unnest($1::smallint[], $2::text[], $3::date[], $4::bigint[], $5::bigint[])
  as v (key_hash, scope, business_date, was, delta)
where l.key_hash = v.key_hash and l.scope = v.scope and l.business_date = v.business_date
  and l.used = v.was

-- release_limits (hot) --
-- Give back what was held for pieces that were not issued.
update account_limit l
set used = l.used - v.amount
from unnest($1::smallint[], $2::text[], $3::date[], $4::bigint[])
  as v (key_hash, scope, business_date, amount)
where l.key_hash = v.key_hash and l.scope = v.scope and l.business_date = v.business_date

-- move_positions --
-- One row per partition and batch: from the offset that is expected to the next one.
insert into position as p (topic, partition, next_offset, previous_offset, moved_at)
select v.topic, v.partition, v.next_offset, v.previous_offset, now()
from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
  as v (topic, partition, next_offset, previous_offset)
order by v.topic, v.partition
on conflict (topic, partition) do update
set next_offset = excluded.next_offset, previous_offset = excluded.previous_offset,
    moved_at = excluded.moved_at
where p.next_offset = excluded.previous_offset

-- read_positions --
-- Where every partition stands.
select topic, partition, next_offset from position

-- begin_recovery --
-- These partitions lie behind Kafka's offsets: the database was restored. Since when is what the newest
-- of them tells that nobody moved since; once it is known it stands.
insert into position as p (topic, partition, next_offset, previous_offset, recover_until,
                           recover_since)
select v.topic, v.partition, v.next_offset, -1, v.until,
       (select coalesce(max(q.moved_at), 'epoch') from position q
        join unnest($1::text[], $2::integer[]) as k (topic, partition)
          on q.topic = k.topic and q.partition = k.partition)
from unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[])
  as v (topic, partition, next_offset, until)
order by v.topic, v.partition
on conflict (topic, partition) do update
set recover_since = case when p.next_offset < p.recover_until
                         then least(p.recover_since, excluded.recover_since)
                         else excluded.recover_since end,
    recover_until = greatest(p.recover_until, excluded.recover_until)
where p.next_offset = excluded.next_offset

-- read_recovery --
-- The partitions whose lost part has not been read to its end.
select topic, partition, recover_until, recover_since from position
where next_offset < recover_until

-- insert_dead_letters --
-- Records that were set aside; one that was already is left as it is.
insert into dead_letter (topic, partition, "offset", key, value, headers, error_class, field,
                         message, disposition, fingerprint, saga_id, first_failed_at)
select v.*
from unnest($1::text[], $2::integer[], $3::bigint[], $4::bytea[], $5::bytea[], $6::json[],
            $7::text[], $8::text[], $9::text[], $10::text[], $11::text[], $12::uuid[],
            $13::timestamptz[]) as v
on conflict do nothing

-- why_set_aside --
-- Why records were set aside, of those that were: what is redelivered is set aside again so.
select d.topic, d.partition, d."offset", d.error_class, d.field, d.message, d.disposition
from unnest($1::text[], $2::integer[], $3::bigint[]) as v (topic, partition, "offset")
join dead_letter d using (topic, partition, "offset")

-- save_cases (hot) --
-- Sagas that wait for a person, or do not any more; a case that is opened again is a new one.
insert into parked_case as c (key_hash, saga_id, opened_at, leg, why, stake, unit, closed_at)
select v.*
from unnest($1::smallint[], $2::uuid[], $3::timestamptz[], $4::text[], $5::text[], $6::bigint[],
            $7::text[], $8::timestamptz[]) as v
on conflict (key_hash, saga_id) do update
set opened_at = case when c.closed_at is null then c.opened_at else excluded.opened_at end,
    leg = excluded.leg, why = excluded.why, stake = excluded.stake, unit = excluded.unit,
    closed_at = excluded.closed_at

-- load_decisions (hot) --
-- What people decided, as it stands in the audited rows that a batch's records name.
select d.key_hash, d.id, d.saga_id, d.leg, d.action, d.amount, d.reference,
       d.approved_by is not null as approved, d.outcome is not null as settled
from unnest($1::smallint[], $2::bigint[]) as k (key_hash, id)
join decision d on d.key_hash = k.key_hash and d.id = k.id

-- settle_decisions (hot) --
-- Applied or refused, once; one that was settled in between is a conflict, seen by the count.
update decision d
set outcome = v.outcome, why = v.why, settled_at = v.settled_at, revision = v.revision,
    due_at = null
from unnest($1::smallint[], $2::bigint[], $3::text[], $4::text[], $5::timestamptz[],
            $6::integer[])
  as v (key_hash, id, outcome, why, settled_at, revision)
where d.key_hash = v.key_hash and d.id = v.id and d.outcome is null

-- lease_decisions --
-- Take decisions that are to be published and push them by a lease: a lost record is said again.
update decision d
set due_at = $2
from (
    select key_hash, id, saga_id from decision
    where due_at <= $1
    order by due_at
    limit $3
    for update skip locked
) l
join saga s on s.key_hash = l.key_hash and s.saga_id = l.saga_id
where d.key_hash = l.key_hash and d.id = l.id
returning d.id, d.saga_id, d.leg, d.action, d.amount, d.reference, s.origin, s.account

-- propose_decision --
-- A new decision about a saga that exists; one that is open for the leg already is no row.
insert into decision (key_hash, saga_id, leg, action, amount, reference, evidence, reason, actor,
                      due_at)
select s.key_hash, s.saga_id, $3, $4, $5, $6, $7, $8, $9, case when $10 then now() end
from saga s where s.key_hash = $1 and s.saga_id = $2
on conflict (key_hash, saga_id, leg) where outcome is null do nothing
returning id

-- approve_decision --
-- A second person agrees: from now on it is published until it is settled.
update decision set approved_by = $3, approved_at = now(), due_at = now()
where key_hash = $1 and id = $2 and outcome is null and approved_by is null and actor <> $3
  and action <> 'retry'

-- decline_decision --
-- Somebody takes it back or disagrees, before it was applied.
update decision
set outcome = 'declined', settled_by = $3, why = $4, settled_at = now(), due_at = null
where key_hash = $1 and id = $2 and outcome is null

-- read_decision --
-- One decision by its number alone.
select * from decision where id = $1

-- decisions_of --
-- Everything that was ever decided about some sagas, in order.
select d.* from unnest($1::smallint[], $2::uuid[]) as k (key_hash, saga_id)
join decision d on d.key_hash = k.key_hash and d.saga_id = k.saga_id
order by d.id

-- list_decisions --
-- The newest decisions; the filter that is null does not filter.
select * from decision
where ($1::boolean is null or (outcome is null) = $1)
order by id desc
limit $2

-- list_parked --
-- Sagas that wait for a person, the longest first, each with its row.
select c.opened_at, s.key_hash, s.saga_id, s.revision, s.due_at, s.origin, s.account, s.request_id,
       s.programme, s.programme_version, s.accepted_at, s.terms, s.state
from parked_case c
join saga s on s.key_hash = c.key_hash and s.saga_id = c.saga_id
where c.closed_at is null
order by c.opened_at, c.saga_id
limit $1

-- parked_since --
-- Since when one saga waits for a person; no row: it does not.
select opened_at from parked_case where key_hash = $1 and saga_id = $2 and closed_at is null

-- due_sagas --
-- Sagas of some of the partitions whose timer is due, the earliest first, but those that ring already.
-- Those are hashed: of an array, each row would be compared with every one.
select s.key_hash, s.saga_id, s.revision, s.due_at, s.origin, s.account, s.request_id, s.programme,
       s.programme_version, s.accepted_at, s.terms, s.state
from saga s
where s.due_at > $1 and s.due_at <= $2 and s.key_hash % $3::integer = any($4::integer[])
  and s.saga_id not in (select unnest($5::uuid[]))
order by s.due_at
limit $6

-- list_sagas --
-- The newest sagas; filters that are null do not filter. The first word of the terms is the kind's name.
select saga_id, terms::jsonb->>0 as kind, revision, due_at, status, origin, account, request_id,
       programme, accepted_at
from saga
where ($1::text is null or status = $1) and ($2::text is null or account = $2)
  and ($3::text is null or programme = $3)
order by accepted_at desc, saga_id
limit $4

-- read_saga --
-- One saga, not locked.
select key_hash, saga_id, revision, due_at, origin, account, request_id, programme,
       programme_version, accepted_at, terms, state
from saga where key_hash = $1 and saga_id = $2

-- list_dead_letters --
-- What was set aside, oldest first, without the payload.
select topic, partition, "offset", error_class, field, message, disposition, fingerprint, saga_id,
       first_failed_at
from dead_letter
order by first_failed_at, topic, partition, "offset"

-- read_timeline --
-- What happened to one saga, in order.
select revision, at, event, detail from timeline
where key_hash = $1 and saga_id = $2
order by revision

-- read_transfers --
-- What one saga moved, in order.
select seq, debit, credit, unit, amount from transfer
where key_hash = $1 and saga_id = $2
order by seq

-- count_by_status --
-- How many sagas stand where.
select status, count(*) as count from saga group by status order by status

-- sum_by_account --
-- The balance of every account in every unit: what came in less what went out.
select account, unit, sum(amount)::bigint as balance
from (
    select credit as account, unit, amount from transfer
    union all
    select debit, unit, -amount from transfer
) m
group by account, unit
order by unit, account

-- applied_migrations --
-- The names of the migrations that this database has.
select name from migration order by name

-- add_in_flight --
-- Legs in flight, more or fewer, in this coordinator's own rows: the sum over all of them counts.
insert into participant_load as l (participant, instance, legs)
select v.participant, v.instance, v.legs
from unnest($1::text[], $2::text[], $3::bigint[]) as v (participant, instance, legs)
on conflict (participant, instance) do update set legs = l.legs + excluded.legs

-- share_health --
-- What one coordinator saw, and that it is alive.
insert into participant_health as h (participant, instance, revision, seen_at, seen)
select v.participant, $1, v.revision, $2, v.seen
from unnest($3::text[], $4::integer[], $5::text[]) as v (participant, revision, seen)
on conflict (participant, instance) do update
set revision = excluded.revision, seen_at = excluded.seen_at, seen = excluded.seen

-- read_health --
-- What all coordinators saw, and when each was last heard of.
select participant, instance, revision, seen_at, seen from participant_health

-- read_in_flight --
-- How many legs each participant owes an answer to.
select participant, sum(legs)::bigint as legs from participant_load group by participant

-- read_breakers --
-- Where the breakers stand that ever moved.
select participant, revision, state, since, until from participant_breaker

-- move_breaker --
-- Compare and set; a breaker that never moved has revision 0 and no row.
insert into participant_breaker as b (participant, revision, state, since, until)
select $1::text, $3::integer, $4::text, $5::timestamptz, $6::timestamptz
where $2::integer = 0 or exists (select 1 from participant_breaker where participant = $1)
on conflict (participant) do update
set revision = excluded.revision, state = excluded.state, since = excluded.since,
    until = excluded.until
where b.revision = $2

-- fold_in_flight --
-- The legs of coordinators that have said nothing since, added up in one row.
with gone as (
    delete from participant_load l
    where l.instance <> '' and not exists (
        select 1 from participant_health h
        where h.participant = '' and h.instance = l.instance and h.seen_at >= $1
    )
    returning l.participant, l.legs
)
insert into participant_load as l (participant, instance, legs)
select participant, '', sum(legs) from gone group by participant
on conflict (participant, instance) do update set legs = l.legs + excluded.legs

-- forget_health --
-- What coordinators saw that have said nothing since.
delete from participant_health h
where not exists (
    select 1 from participant_health alive
    where alive.participant = '' and alive.instance = h.instance and alive.seen_at >= $1
)
