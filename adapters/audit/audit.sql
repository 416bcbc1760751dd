-- The statements of `uprp audit`. All of them read one snapshot, for the key hashes from $1 up to,
-- not including, $2, and count for themselves: nothing here asks the engine what should be.
-- A block begins with its name; {name} includes another block. `offset 0` has what is used often
-- computed once. $3: how many seconds late a timer may be, $4: how many it may stand behind the leg
-- that it is for, $5 to $7: programmes, their versions, and the worth of their account limits.

-- book --
-- What the journal says of each saga: net sums by kind of account. The second word of an account
-- says its kind, since the first is the id of a company, which holds no slash. `trace` is one number
-- for all accounts and units at once: each net amount times the hash of where it went.
select key_hash, saga_id, count(*) as movements,
       sum(case when debit = 'uprp/suspense' then -amount
                when credit = 'uprp/suspense' then amount else 0 end) as suspense,
       sum(case when debit = 'uprp/suspense' and split_part(credit, '/', 2) = 'redeemed' then amount
                when credit = 'uprp/suspense' and split_part(debit, '/', 2) = 'redeemed' then -amount
                else 0 end) as redeemed,
       coalesce(sum(case when amount < 2147483648 then amount * way end), 0)
           + coalesce(sum(case when amount >= 2147483648 then amount::numeric * way end), 0) as trace,
       bit_or(1::bigint << (seq / 8 % 63)) as revisions
from transfer
cross join lateral (
    select case when credit = 'uprp/suspense' then 0
                else hashtext(credit || ' ' || unit)::bigint end
           - case when debit = 'uprp/suspense' then 0
                  else hashtext(debit || ' ' || unit)::bigint end as way
    offset 0
) w
where key_hash >= $1 and key_hash < $2
group by key_hash, saga_id

-- story --
-- What the timeline says of each saga: how many events, and which words they caused. `said` stands
-- last in the detail and is written by the platform alone; a quotation mark in what others wrote is
-- escaped, so it cannot be mistaken. Records are told apart by two bits of their hash: where as many
-- different ones stand as there are, none counted twice; elsewhere `fact` looks closer. A saga that
-- was recalled after its database was lost said things of which this timeline knows nothing.
select key_hash, saga_id, count(*) as events, min(revision) as first, max(revision) as last,
       bit_or(1::bigint << (revision % 63)) as revisions, sum(commands) as commands,
       count(result) as results, max(result) as result,
       coalesce(bit_count(bit_or(1::bigint << (result % 63))::bit(64)), 0) as different,
       bool_or(event = 'recalled') as recalled, count(record) as records,
       greatest(bit_count(bit_or(1::bigint << (record & 63))::bit(64)),
                bit_count(bit_or(1::bigint << (record >> 6 & 63))::bit(64))) as kinds
from (
    select key_hash, saga_id, revision, event,
           hashtext(nullif(split_part(split_part(detail, '"record":"', 2), '"', 1), '')) as record,
           (length(said) - length(replace(said, '"do ', ''))) / 4 as commands,
           case when said like '%"result #%'
                then split_part(split_part(said, '"result #', 2), '"', 1)::integer end as result
    from timeline
    cross join lateral (select split_part(detail, '"said":[', 2) as said offset 0) w
    where key_hash >= $1 and key_hash < $2
    offset 0
) told
group by key_hash, saga_id

-- leg --
-- The legs of one saga (`orchestrator/engine/codec.py` says what stands where), added up. A credit is
-- priced by its line, rounded up; where something of a line was taken back, `kept` prices it.
select count(*) as legs,
       coalesce(sum(moved) filter (where takes), 0) as taken,
       coalesce(sum(greatest(moved, first)) filter (where takes), 0) as taken_once,
       coalesce(sum(moved) filter (where gives_back), 0) as returned,
       coalesce(sum(asked) filter (where gives_back and not decided and status <> 'disputed'), 0)
           as returning,
       coalesce(sum(asked) filter (where status = 'written_off'), 0) as forgone,
       coalesce(sum(moved) filter (where covers), 0) as covered,
       coalesce(sum(case when way = 0 or moved = 0 then 0 when moved = quantity then way * points
                         else way * ceil(points * moved::numeric / quantity)::bigint end), 0)
           as price,
       coalesce(sum(case when way = 0 or moved = 0 then 0 when moved = quantity then way * worth
                         else way * floor(worth * moved::numeric / quantity)::bigint end), 0)
           as worth,
       coalesce(sum(way * moved), 0) as kept,
       coalesce(sum(asked) filter (where credits), 0) as pieces,
       coalesce(bool_or(way = -1 and moved <> 0), false) as reversed,
       coalesce(sum(case when undoes and not gives_back then -asked_back
                         when credits then greatest(moved, first) end), 0) < 0 as reversed_more,
       coalesce(sum(case when way <> 0 and moved <> 0 then way * moved
           * (hashtext(j.creditor || '/member/' || (j.terms->>7) || ' ' || unit)::numeric
              - hashtext(j.creditor || '/issued ' || unit)) end), 0) as trace,
       coalesce(sum(attempt), 0) as commands,
       count(*) filter (where undoes and status <> 'waiting') as undone,
       count(*) filter (where flies) as flying,
       count(*) filter (where flies and due is null) as untimed,
       min(due) filter (where flies) as due,
       count(*) filter (where unanswered and not gives_back) as unanswered,
       count(*) filter (where unanswered and gives_back) as unreturned,
       coalesce(bool_or(waits), false) as parked,
       count(*) filter (where moved <> 0 and (unanswered or status in (
                            'waiting', 'rejected', 'written_off'))
                        or status = 'confirmed' and not covers and moved not between 1 and asked
                        or decided and due is not null) as unsound,
       count(*) filter (where status = 'cancelled') as cancelled,
       count(*) filter (where status = 'cancelled' and moved <> 0) as cancelled_and_done,
       count(*) filter (where status = 'overturned') as overturned,
       count(*) filter (where status = 'overturned' and cancels > 0 and moved > 0) as revived,
       count(*) filter (where moved <> 0 and attempt = 0 and not covers
                        and not (path = 'deduct' and j.prededucted)) as unasked,
       count(*) filter (where credits and status <> 'waiting') as credits,
       count(*) filter (where credits and (
           status in ('rejected', 'cancelled', 'overturned')
           or status in ('confirmed', 'disputed') and moved < asked)) as noes,
       min(sent_at) filter (where gives_back and attempt > 0) as returned_from
from (
    select path, asked, status, attempt, sent_at, due, moved, cancels, first, takes, covers,
           gives_back, undoes, credits, decided,
           status in ('sent', 'unknown', 'pending', 'cancelling') as flies,
           not decided and status not in ('waiting', 'disputed') as unanswered,
           status in ('silent', 'disputed', 'refused') or (called > 0 and status not in (
               'confirmed', 'rejected', 'cancelled', 'written_off')) as waits,
           case when decided or status = 'disputed' then moved else asked end as asked_back,
           case when credits then 1 when undoes and not gives_back then -1 else 0 end as way,
           (line->>2)::bigint as quantity, (line->>3)::bigint as points,
           (line->>4)::bigint as worth, j.creditor || ':' || (line->>0) as unit
    from jsonb_array_elements(j.state->0) as e (leg)
    cross join lateral (
        select *, path in ('deduct', 'charge') as takes, strpos(path, '/return') > 0 as gives_back,
               strpos(path, '/re') > 0 as undoes, path like 'loss%' as covers,
               path like 'credit/%' and strpos(path, '/re') = 0 as credits,
               case when path like 'credit/%' then
                   j.terms->11->(split_part(path, '/', 2)::integer - 1) end as line,
               status in ('confirmed', 'rejected', 'cancelled', 'overturned', 'written_off')
                   as decided
        from (
            select leg->>0 as path, (leg->>1)::bigint as asked, leg->>2 as status,
                   (leg->>3)::bigint as attempt, (leg->>5)::bigint as sent_at,
                   (leg->>7)::bigint as due, (leg->>8)::bigint as moved,
                   coalesce((leg->>16)::bigint, 0) as cancels,
                   coalesce((leg->>17)::bigint, 0) as called,
                   coalesce((leg->>18)::bigint, 0) as first
            offset 0
        ) written
        offset 0
    ) named
    offset 0
) legs

-- kept --
-- The price of what the member keeps, where something was taken back: each line rounded up once.
select sum(ceil(points * pieces::numeric / quantity))
from (
    select (j.terms->11->(line - 1)->>2)::bigint as quantity,
           (j.terms->11->(line - 1)->>3)::bigint as points, pieces
    from (
        select split_part(leg->>0, '/', 2)::integer as line,
               sum(case when strpos(leg->>0, '/re') > 0 then -1 else 1 end * (leg->>8)::bigint)
                   as pieces
        from jsonb_array_elements(j.state->0) as e (leg)
        where leg->>0 like 'credit/%'
        group by 1
    ) by_line
) lines

-- fact --
-- Every saga that is kept: what its row, its legs, the journal, the timeline and its case say of each
-- other. What only reads something is looked at by `questions.sql`.
select s.key_hash, s.saga_id, j.unit, s.account, m.scope, m.day, b.bound,
       coalesce(t.status, '') as told, r.final,
       r.correcting, r.final and not r.correcting as ended, j.prededucted,
       l.flying > 0 as flying, j.held > 0 as held, l.parked, l.unreturned > 0 as unreturned,
       coalesce(story.recalled, false) as recalled,
       l.undone > 0 as undone, l.cancelled > 0 or l.revived > 0 as cancelled,
       -- Points.
       book.suspense = l.returning as settled,
       book.redeemed = k.price as spent,
       case when l.kept <= 0 then 'none' when l.kept < l.pieces then 'some' else 'all' end as kept,
       k.price + l.returned + l.returning + l.forgone > l.taken + l.covered as unpaid,
       l.reversed_more or l.returned + l.returning > l.taken_once as undone_more,
       l.covered > 0 as covered, l.covered > 0 and j.bearer = '' as unowned,
       -- Effects and their intents.
       l.unasked > 0 as unasked, coalesce(story.commands, 0) < l.commands as unsaid,
       book.revisions & ~coalesce(story.revisions, 0) <> 0 as uncaused,
       book.suspense = l.taken + l.covered - l.returned - l.forgone - k.price
           and book.trace = l.trace
               + case when l.returned = l.taken then 0 else (l.returned - l.taken)
                   * hashtext(j.debtor || '/member/' || j.debtor_account || ' ' || j.unit) end
               + case when k.price = 0 then 0
                      else k.price * hashtext(j.debtor || '/redeemed ' || j.unit) end
               + case when l.forgone = 0 then 0
                      else l.forgone * hashtext(j.debtor || '/forgone ' || j.unit) end
               - case when l.covered = 0 then 0
                      else l.covered * hashtext(j.bearer || '/loss ' || j.unit) end as booked,
       l.unanswered > 0 as unanswered, l.unsound > 0 as unsound,
       -- Undoing.
       l.noes > 0 or l.overturned > 0 as refused,
       l.credits = 0 and (j.withdrawn or t.final or l.returned_from >= j.fresh_until) as turned,
       l.cancelled_and_done > 0 as cancelled_and_done, l.revived > 0 as revived,
       -- What was told.
       case when t.revision is null then coalesce(story.results, 0) = 0
            when story.results = 0 and s.programme = '' then t.revision = 1  -- Told before a loss.
            when story.recalled then coalesce(story.result <= t.revision, true)
                 and story.results = story.different
            else story.result = t.revision and story.results = story.different
                 and story.results <= t.revision
                 and t.final = (t.status not in ('PENDING', 'MANUAL_REVIEW'))
                 and (not coalesce(t.corrected, false) or t.revision > 1) end as told_once,
       s.status = case when l.parked then 'PARKED' when r.correcting then 'CORRECTING'
                       when r.final then t.status when j.held > 0 then 'HELD'
                       else s.status end as shown,
       coalesce((story.first = 1 or story.recalled) and story.last <= s.revision, false)
           as told_from_the_start,
       case when story.kinds < story.records then (
           select count(record) > count(distinct record)
           from timeline o
           cross join lateral (
               select nullif(split_part(split_part(o.detail, '"record":"', 2), '"', 1), '') as record
           ) w
           where o.key_hash = s.key_hash and o.saga_id = s.saga_id
       ) else false end as replayed,
       j.content <> '' or s.programme = '' as digested,
       -- Whose turn it is.
       s.due_at is not null as timed,
       coalesce(s.due_at < now() - make_interval(secs => $3), false) as overdue,
       l.untimed > 0 or coalesce(
           s.due_at > to_timestamp(coalesce(l.due, nullif(j.held, 0)) / 1000.0)
                      + make_interval(secs => $4), false) as late,
       c.saga_id is not null as cased, coalesce(c.stake = book.suspense, true) as staked,
       -- Sums.
       l.legs, book.movements, coalesce(story.events, 0) as events, book.suspense,
       case when r.final then l.worth else m.worth end as counted,
       coalesce(t.corrected or story.recalled, false) or l.overturned > 0 as later,
       l.taken, l.returned + l.returning as given_back, k.price
-- A final result that was read back after a loss (`from_words`) ends nothing before it is known to
-- stand (`orchestrator/engine/rebuild.py`).
from saga s
cross join lateral (select s.state::jsonb as state, s.terms::jsonb as terms offset 0) p
cross join lateral (
    select p.state, p.terms, p.state->1 as told, (p.state->>2)::boolean as withdrawn,
           (p.state->>3)::bigint as held, p.terms->>2 as content, p.terms->>4 as debtor,
           p.terms->>5 as creditor, p.terms->>6 as debtor_account, p.terms->>8 as unit,
           (p.terms->>15)::boolean as prededucted, p.terms->>16 as bearer,
           (p.terms->>17)::bigint as fresh_until
    offset 0
) j
cross join lateral (
    select (j.told->>0)::bigint as revision, j.told->>1 as status, (j.told->>2)::boolean as final,
           (j.told->>6)::boolean as corrected,
           coalesce(jsonb_array_length(j.told->7) > 0, false) as moved,
           j.told->8 is not null as from_words
    offset 0
) t
cross join lateral (
    select coalesce(t.final and not t.from_words, false) as final,
           coalesce(t.final and not t.from_words and t.moved, false) as correcting
    offset 0
) r
cross join lateral (
    {leg}
) l
cross join lateral (
    select case when l.reversed then ({kept}) else l.price end as price offset 0
) k
cross join lateral (
    select j.terms->>12 as scope, (j.terms->>13)::date as day,
           case when (j.terms->>12) <> '' and not r.final then (
               select sum((line->>4)::bigint) from jsonb_array_elements(j.terms->11) as e (line)
           ) else 0 end as worth
) m
left join (
    {book}
) journal on journal.key_hash = s.key_hash and journal.saga_id = s.saga_id
cross join lateral (
    select coalesce(journal.movements, 0) as movements, coalesce(journal.suspense, 0) as suspense,
           coalesce(journal.redeemed, 0) as redeemed, coalesce(journal.trace, 0) as trace,
           coalesce(journal.revisions, 0) as revisions
) book
left join (
    {story}
) story on story.key_hash = s.key_hash and story.saga_id = s.saga_id
left join parked_case c
  on c.key_hash = s.key_hash and c.saga_id = s.saga_id and c.closed_at is null
left join unnest($5::text[], $6::integer[], $7::bigint[]) as b (programme, version, bound)
  on b.programme = s.programme and b.version = s.programme_version
where s.key_hash >= $1 and s.key_hash < $2 and not ({reading})

-- held --
-- Every account limit, and what the sagas that count on it add up to.
select key_hash, scope, business_date, coalesce(l.used, 0) as used,
       coalesce(h.counted, 0) as counted,
       coalesce(l.used, 0) <> coalesce(h.counted, 0) as differs,
       coalesce(l.used > h.bound and not h.later, false) as above
from (
    select key_hash, scope, day as business_date, sum(counted) as counted,
           bool_or(later) as later,
           case when bool_and(bound is not null) then max(bound) end as bound
    from fact where scope <> ''
    group by key_hash, scope, day
) h
full join (
    select * from account_limit where key_hash >= $1 and key_hash < $2
) l using (key_hash, scope, business_date)

-- survey --
-- A million sagas are some hundred shapes: sagas of one shape are counted, and judged once. Beside
-- them the limits, and what lies in suspense by whose turn it is.
with fact as materialized (
    {fact}
)
select 'shape' as kind, to_jsonb(g) as found from (
    select {columns}, count(*) as sagas, sum(legs) as legs, sum(movements) as movements,
           sum(events) as events, min(key_hash) as first_key
    from fact group by {columns}
) g
union all
select 'limits', to_jsonb(g) from (
    select count(*) filter (where used > 0 or counted > 0) as limits,
           count(*) filter (where differs) as differ, count(*) filter (where above) as above,
           min(key_hash) filter (where differs or above) as first_key
    from ({held}) h
) g
union all
select 'unit', to_jsonb(g) from (
    select unit, sum(suspense) as suspense, coalesce(sum(suspense) filter (where cased), 0) as cases,
           coalesce(sum(suspense) filter (where not cased and (flying or held)), 0) as flights
    from fact group by unit having sum(movements) > 0
) g

-- look --
-- The sagas themselves, where a shape is broken.
with fact as materialized (
    {fact}
)
select {columns}, saga_id, suspense, taken, given_back, price
from fact
order by key_hash, saga_id

-- look_at_limits --
-- The limits themselves, where one is broken.
with fact as materialized (
    {fact}
)
select scope, business_date, used, counted, differs, array(
           select f.saga_id from fact f
           where f.key_hash = h.key_hash and f.scope = h.scope and f.day = h.business_date limit 3
       ) as sagas
from ({held}) h
where differs or above
order by key_hash, scope, business_date

-- journal --
-- The journal by itself: every movement between two accounts, in each unit; what no saga explains.
select unit, count(*) as movements,
       sum(case when debit = 'uprp/suspense' then -amount
                when credit = 'uprp/suspense' then amount else 0 end) as suspense,
       count(*) filter (where amount <= 0 or debit = credit) as odd
from transfer
where key_hash >= $1 and key_hash < $2
group by unit

-- strays --
-- Movements whose saga does not exist; read only where the sagas have fewer than there are.
select distinct key_hash, saga_id from transfer t
where key_hash >= $1 and key_hash < $2 and not exists (
    select from saga s where s.key_hash = t.key_hash and s.saga_id = t.saga_id
)
order by key_hash, saga_id
limit 100

-- twins --
-- Requests that became more than one saga; by their hash first, which is quick.
select (array_agg(saga_id))[1:3] as sagas
from saga
where key_hash >= $1 and key_hash < $2
  and (key_hash, hashtextextended(origin || ' ' || account || ' ' || request_id, 0)) in (
      select key_hash, hashtextextended(origin || ' ' || account || ' ' || request_id, 0)
      from saga
      where key_hash >= $1 and key_hash < $2
      group by 1, 2
      having count(*) > 1
  )
group by key_hash, origin, account, request_id
having count(*) > 1
limit 100

-- positions --
-- Where the readers stand; each step was from the offset that was expected to a later one.
select topic, partition, next_offset > previous_offset and previous_offset >= -1 as forward
from position
order by topic, partition

-- guards --
-- The tables of which the database itself refuses to change or delete a row.
select c.relname as name
from pg_trigger t join pg_class c on c.oid = t.tgrelid
where t.tgname = 'append_only' and t.tgenabled in ('O', 'A')
  and c.oid in ('transfer'::regclass, 'timeline'::regclass)
order by 1
