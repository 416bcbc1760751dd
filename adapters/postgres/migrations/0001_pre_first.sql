-- The first schema. Every hot table carries the saga's key hash first in its primary key, so that the
-- schema can be distributed by it (design.md 9).

create table saga (
    key_hash          smallint    not null check (key_hash between 0 and 4095),
    saga_id           uuid        not null,
    revision          integer     not null check (revision >= 1),
    due_at            timestamptz,                 -- The one timer; null: nothing is due.
    status            text        not null,        -- For operators; the truth is in state.
    origin            text        not null,
    account           text        not null,
    request_id        text        not null,
    programme         text        not null,
    programme_version integer     not null,
    accepted_at       timestamptz not null,
    terms             text        not null,        -- JSON, written once.
    state             text        not null,        -- JSON, written at every revision.
    primary key (key_hash, saga_id)
) with (fillfactor = 70, autovacuum_vacuum_scale_factor = 0.05);

create index saga_due on saga (due_at) where due_at is not null;

create table timeline (
    key_hash smallint    not null,
    saga_id  uuid        not null,
    revision integer     not null,
    at       timestamptz not null,
    event    text        not null,
    detail   text        not null,                  -- JSON.
    primary key (key_hash, saga_id, revision)
);

create table transfer (
    key_hash smallint not null,
    saga_id  uuid     not null,
    seq      integer  not null,
    debit    text     not null,
    credit   text     not null check (credit <> debit),
    unit     text     not null,
    amount   bigint   not null check (amount > 0),
    primary key (key_hash, saga_id, seq)
);

create table account_limit (
    key_hash      smallint not null,
    scope         text     not null,
    business_date date     not null,
    used          bigint   not null check (used >= 0),
    primary key (key_hash, scope, business_date)
) with (fillfactor = 80);

create table position (
    topic           text   not null,
    partition       integer not null,
    next_offset     bigint not null,
    previous_offset bigint not null,  -- What the writer expected to find; -1: nothing.
    primary key (topic, partition)
) with (fillfactor = 50);

create table dead_letter (
    topic           text        not null,
    partition       integer     not null,
    "offset"        bigint      not null,
    key             bytea,
    value           bytea,
    headers         json        not null,
    error_class     text        not null,
    field           text        not null,
    message         text        not null,
    disposition     text        not null check (disposition in ('poison', 'refused', 'exhausted')),
    fingerprint     text        not null,
    saga_id         uuid,
    first_failed_at timestamptz not null,
    primary key (topic, partition, "offset")
);
