-- One company's truth. One file per company; only the company itself writes to it.

-- Every leg the company was ever told of, under the leg id that makes it idempotent.
create table if not exists leg (
    seq        integer primary key,
    leg_id     text    not null, -- unique: see `filed`
    verb       text    not null, -- deduct, return, credit, reverse; '' while only asked about
    account    text    not null,
    item       text    not null,
    asked      integer not null, -- points, miles or coupons
    outcome    text,             -- null: not heard of, although it may have been asked about
    moved      integer not null, -- what was really moved
    answer     blob,             -- the reply's body; once a verdict, it never changes
    remaining  text,             -- what an undo has left to undo; null: all of it
    deliveries integer not null, -- how often the command itself arrived
    inquiries  integer not null,
    cancels    integer not null,
    mismatches integer not null  -- deliveries with another content under the same id
);

-- The index of the legs by id, up to the greatest `seq` of mark -1; the company keeps the later ones
-- in memory. Others who read the file need no index. (`ledger.py` says why.)
create table if not exists filed (
    mark integer not null, -- CRC-32 of a leg id
    seq  integer not null,
    primary key (mark, seq)
) without rowid;

-- Points lots, miles, or the stock of an item: `lots` is [[lot, expires_on, amount], ...].
create table if not exists account (
    account text primary key,
    opening integer not null,
    lots    text    not null
) without rowid;

-- The ledger. A row takes from one account what it gives to another; rows are only ever added.
create table if not exists movement (
    seq    integer primary key,
    leg_id text    not null, -- '' for an opening balance
    giver  text    not null,
    taker  text    not null,
    unit   text    not null, -- points, miles, or the item of a coupon
    lot    text    not null,
    amount integer not null check (amount > 0)
);

create table if not exists coupon (
    serial  integer primary key,
    leg_id  text not null,
    account text not null,
    item    text not null,
    state   text not null check (state in ('ISSUED', 'VOID'))
);

-- Commands that a fault put off: what is to become of them, and when.
create table if not exists held (
    seq      integer primary key,
    leg_id   text    not null,
    due      real,             -- seconds since 1970, UTC; null: not before the leg is cancelled
    wait_ms  integer not null, -- after that cancel
    how      text    not null, -- hear, settle, refuse, insist, deny
    code     text    not null, -- of the no, where it is one
    key      blob,
    type     text    not null,
    body     blob    not null,
    event_id text    not null
);
create index if not exists held_due on held (due);
create index if not exists held_leg on held (leg_id);

-- Replies that no command brings about again, because they are late or nobody asked for them. Written
-- with the fact that they tell, and kept until they were sent: a process that is killed owes them.
create table if not exists owed (
    seq     integer primary key,
    due     real not null, -- seconds since 1970, UTC
    key     blob,
    value   blob not null,
    headers text not null  -- [[name, content], ...]
);
create index if not exists owed_due on owed (due);
