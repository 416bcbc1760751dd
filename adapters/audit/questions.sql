-- What `uprp audit` asks about sagas that read something and move nothing, in the same snapshot, for
-- the key hashes from $1 up to, not including, $2. `audit.sql` leaves them out: they have neither
-- lines nor a timeline, and other things stand in their terms.

-- reading --
-- Whether a row is one; the first word of the terms is the kind's name.
s.terms like '["balance"%'

-- questions --
-- What the rows of each question say of it, and how many questions are alike, with the ids of the
-- first $5. $3: how many seconds late a timer may be, $4: for how many seconds an answer is kept.
with question as materialized (
    select s.key_hash, s.saga_id,
           exists (select from transfer t
                   where t.key_hash = s.key_hash and t.saga_id = s.saga_id) as moved,
           exists (select from timeline t
                   where t.key_hash = s.key_hash and t.saga_id = s.saga_id) as remembered,
           exists (select from parked_case c
                   where c.key_hash = s.key_hash and c.saga_id = s.saga_id) as cased,
           w.status is null or w.revision = 1 and w.final and w.status = s.status
               and (w.status = 'ANSWERED') = (w.code is null)
               and (w.status = 'ANSWERED') = (w.figures is not null and w.read = 1) as answered_well,
           s.due_at is null as untimed,
           coalesce(s.due_at < now() - make_interval(secs => $3), false) as overdue,
           coalesce(w.at + ($4 + $3) * 1000.0 < extract(epoch from now()) * 1000, false)
               as overstayed
    from saga s
    cross join lateral (select s.state::jsonb as state offset 0) p
    cross join lateral (
        select (p.state->1->>0)::integer as revision, p.state->1->>1 as status,
               (p.state->1->>2)::boolean as final, p.state->1->>3 as code,
               (p.state->1->>5)::bigint as at, (p.state->0->0->>8)::bigint as read,
               nullif(p.state->0->0->11, 'null') as figures
        offset 0
    ) w
    where s.key_hash >= $1 and s.key_hash < $2 and {reading}
)
select {question_columns}, count(*) as questions,
       (array_agg(saga_id order by key_hash, saga_id))[1:$5] as first
from question
group by {question_columns}
