-- Sagas that wait for a person, so that operators need not search for them (domain.md I11). Written
-- only when one parks or goes on: the hot tables are left alone.

create table parked_case (
    key_hash  smallint    not null,
    saga_id   uuid        not null,
    opened_at timestamptz not null,
    leg       text        not null,   -- The leg that waits, after the saga's id.
    why       text        not null,   -- A reason code.
    stake     bigint      not null,   -- Points in suspense.
    unit      text        not null,
    closed_at timestamptz,            -- Null: it still waits.
    primary key (key_hash, saga_id)
);

create index parked_case_open on parked_case (opened_at) where closed_at is null;
