-- What people decide about parked sagas (domain.md 4.4 "Operator error"). A row is the audit trail of
-- one decision: who proposed what upon which evidence, who approved it, what became of it. Each fact is
-- written once: the trigger below refuses to overwrite or delete any. Only due_at, which says when the
-- row is published (again), moves.

create table decision (
    key_hash    smallint    not null,
    id          bigint      not null generated always as identity,
    saga_id     uuid        not null,
    leg         text        not null check (leg ~ '^[a-z0-9]+(/[a-z0-9]+){0,3}$'),
    action      text        not null check (action in ('confirm', 'reject', 'retry', 'write-off')),
    amount      bigint      check (amount > 0),          -- Points or pieces; null: all that was asked.
    reference   text        check (reference ~ '^[\x20-\x7e]{1,128}$'),
    evidence    text        not null check (evidence ~ '[^[:space:]]'),
    reason      text        not null check (reason ~ '[^[:space:]]'),
    actor       text        not null check (actor ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'),
    decided_at  timestamptz not null default now(),
    approved_by text        check (approved_by ~ '^[a-z0-9][a-z0-9._@+-]{0,99}$'),
    approved_at timestamptz,
    due_at      timestamptz,                             -- When to publish it; null: not, or not any more.
    outcome     text        check (outcome in ('applied', 'refused', 'declined')),
    why         text,                                    -- Of a refused or a declined one.
    settled_by  text,                                    -- Who declined it; null: the platform settled it.
    settled_at  timestamptz,
    revision    integer,                                 -- The saga's, to which it was applied.
    primary key (key_hash, id),
    constraint only_a_confirmation_says_more check (
        action = 'confirm' or (amount is null and reference is null)),
    constraint two_persons check (approved_by <> actor),
    constraint approved_as_a_whole check ((approved_by is null) = (approved_at is null)),
    constraint published_when_approved check (
        due_at is null or action = 'retry' or approved_by is not null),
    constraint applied_when_approved check (
        outcome <> 'applied' or action = 'retry' or approved_by is not null),
    constraint settled_as_a_whole check (
        (outcome is null) = (settled_at is null)
        and (outcome is null or due_at is null)
        and ((outcome = 'applied') is true) = (revision is not null)
        and (coalesce(outcome, 'applied') = 'applied') = (why is null)
        and ((outcome = 'declined') is true) = (settled_by is not null))
);

create index decision_due on decision (due_at) where due_at is not null;
create index decision_id on decision (id);
create index decision_saga on decision (key_hash, saga_id);
-- One at a time: who disagrees declines the one that is open.
create unique index decision_open on decision (key_hash, saga_id, leg) where outcome is null;

create function decision_is_kept() returns trigger language plpgsql as $$
begin
    if tg_op = 'DELETE' then
        raise exception 'decision % is an audit record: it is not deleted', old.id;
    end if;
    if not to_jsonb(new) @> jsonb_strip_nulls(to_jsonb(old) - 'due_at') then
        raise exception 'decision % is an audit record: what stands in it is not changed', old.id;
    end if;
    return new;
end $$;

create trigger decision_is_kept before update or delete on decision
for each row execute function decision_is_kept();
