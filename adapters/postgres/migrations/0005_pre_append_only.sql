-- The journal and the timeline only grow (domain.md I10): whoever would change or delete a row of
-- them is refused, whatever program it is. Inserts fire no trigger.

create function refuse_change() returns trigger language plpgsql as $$
begin
    raise exception '% is append-only: % is refused', tg_table_name, lower(tg_op)
        using hint = 'Book the difference as a new row.';
end
$$;

create trigger append_only before update or delete on transfer
    for each statement execute function refuse_change();

create trigger append_only before update or delete on timeline
    for each statement execute function refuse_change();
