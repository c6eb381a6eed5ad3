-- Who waits is asked a few times a run, and walking through the plan answers it; the index changed with every message.
drop index recipients_waiting;

-- Messages change one by one. What breaks the law undoes the whole transaction, and no function is called: so SQLite knows that it never has to
-- undo one change alone, and keeps no journal for each. A list in `in (…)` would become a table of its own each time.
drop trigger send_law;
create trigger send_law before update of state on recipients
when new.state <> old.state and not case old.state
  when 'committing' then new.state = 'accepted' or new.state = 'rejected' or new.state = 'deferred' or new.state = 'unknown'
    or new.state = 'waiting'
  when 'waiting' then new.state = 'committing' or new.state = 'reserved' or new.state = 'cancelled' or new.state = 'expired'
  when 'deferred' then new.state = 'committing' or new.state = 'reserved' or new.state = 'cancelled' or new.state = 'expired'
  when 'reserved' then new.state = 'committing' or new.state = 'waiting' or new.state = 'rejected' or new.state = 'cancelled'
    or new.state = 'expired'
  when 'unknown' then new.state = 'accepted' or new.state = 'waiting' or new.state = 'cancelled'
  else 0
end
begin
  select raise(rollback, 'the send law forbids this change of state');
end;
