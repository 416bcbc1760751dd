-- What coordinators see of the participants (docs/decisions/0016). Each coordinator writes rows of its
-- own: none is shared but a breaker's, which is written only when it moves.

create table participant_health (
    participant text        not null,  -- '': the coordinator itself, alive at seen_at.
    instance    text        not null,  -- Of the coordinator's process.
    revision    integer     not null,  -- Of the breaker that it counts for.
    seen_at     timestamptz not null,
    seen        text        not null,  -- JSON: for each slot its number, asked, answered, missed.
    primary key (participant, instance)
) with (fillfactor = 50);

create table participant_load (
    participant text   not null,
    instance    text   not null,  -- '': the sum of those that are gone.
    legs        bigint not null,  -- In flight: asked here less answered here. The sum counts.
    primary key (participant, instance)
) with (fillfactor = 50);

create table participant_breaker (
    participant text        primary key,
    revision    integer     not null check (revision >= 1),
    state       text        not null check (state in ('closed', 'open', 'half_open')),
    since       timestamptz not null,
    until       timestamptz,
    check ((until is null) = (state = 'closed'))
);
