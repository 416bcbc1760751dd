-- After a restore the stored positions lie behind Kafka's offsets (docs/decisions/0017): up to where
-- the lost part is read once more, and since when what was said is read back.

alter table position
    -- Of rows that are older than this column: long ago, which reads back more than is needed.
    add column moved_at      timestamptz not null default 'epoch',
    add column recover_until bigint,       -- Past it, this partition is as if nothing had happened.
    add column recover_since timestamptz;
