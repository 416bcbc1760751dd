-- What ANALYZE reads. It takes 300 rows for each step of the largest target of a table and sorts every
-- column of them, and under load it runs every minute: 30,000 sagas of a kilobyte each took a second of
-- a core (docs/decisions/0013). The JSON is never compared, so nothing need be known of it; of the rest
-- 3,000 rows tell enough: hot statements go by key whatever the planner believes, and the audit reads
-- its tables whole.

alter table saga
    alter column key_hash          set statistics 10,
    alter column saga_id           set statistics 10,
    alter column revision          set statistics 10,
    alter column due_at            set statistics 10,
    alter column status            set statistics 10,
    alter column origin            set statistics 10,
    alter column account           set statistics 10,
    alter column request_id        set statistics 10,
    alter column programme         set statistics 10,
    alter column programme_version set statistics 10,
    alter column accepted_at       set statistics 10,
    alter column terms             set statistics 0,
    alter column state             set statistics 0;

alter table timeline
    alter column key_hash set statistics 10,
    alter column saga_id  set statistics 10,
    alter column revision set statistics 10,
    alter column at       set statistics 10,
    alter column event    set statistics 10,
    alter column detail   set statistics 0;

alter table transfer
    alter column key_hash set statistics 10,
    alter column saga_id  set statistics 10,
    alter column seq      set statistics 10,
    alter column debit    set statistics 10,
    alter column credit   set statistics 10,
    alter column unit     set statistics 10,
    alter column amount   set statistics 10;

alter table account_limit
    alter column key_hash      set statistics 10,
    alter column scope         set statistics 10,
    alter column business_date set statistics 10,
    alter column used          set statistics 10;

alter table dead_letter
    alter column key     set statistics 0,
    alter column value   set statistics 0,
    alter column headers set statistics 0,
    alter column message set statistics 0;
