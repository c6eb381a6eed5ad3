-- A list in `in (…)` becomes a table of its own each time a row is checked by it, and a message is checked three times on its way; whatever is
-- compared one by one costs next to nothing.
drop trigger send_law;
alter table recipients rename to recipients_before;
drop index recipients_in_hand;
drop index recipients_unknown;
create table recipients (
  plan        text    not null references plans (plan),
  customer_id text    not null,
  message_id  text    not null,
  state       text    not null check (state = 'accepted' or state = 'committing' or state = 'waiting' or state = 'reserved' or state = 'rejected'
              or state = 'deferred' or state = 'unknown' or state = 'cancelled' or state = 'expired'),
  reason      text,
  attempt     integer not null default 0,
  next_try_at integer,
  transport   text,                                        -- outbox | smtp | http | api: by which the last attempt went
  updated_at  integer not null,
  reply       text,                                        -- what the other side answered, without addresses
  worker      integer,                                     -- whose it is while reserved or committing
  primary key (plan, customer_id)
) without rowid;
insert into recipients (plan, customer_id, message_id, state, reason, attempt, next_try_at, transport, updated_at, reply, worker)
  select plan, customer_id, message_id, state, reason, attempt, next_try_at, transport, updated_at, reply, worker from recipients_before;
drop table recipients_before;
create index recipients_in_hand on recipients (plan) where state in ('reserved', 'committing');
create index recipients_unknown on recipients (message_id) where state = 'unknown';

-- The send law, as before.
create trigger send_law before update of state on recipients
when new.state <> old.state and not case old.state
  when 'committing' then case new.state
    when 'accepted' then 1 when 'rejected' then 1 when 'deferred' then 1 when 'unknown' then 1 when 'waiting' then 1 else 0 end
  when 'waiting' then case new.state
    when 'committing' then 1 when 'reserved' then 1 when 'cancelled' then 1 when 'expired' then 1 else 0 end
  when 'deferred' then case new.state
    when 'committing' then 1 when 'reserved' then 1 when 'cancelled' then 1 when 'expired' then 1 else 0 end
  when 'reserved' then case new.state
    when 'committing' then 1 when 'waiting' then 1 when 'rejected' then 1 when 'cancelled' then 1 when 'expired' then 1 else 0 end
  when 'unknown' then case new.state when 'accepted' then 1 when 'waiting' then 1 when 'cancelled' then 1 else 0 end
  else 0
end
begin
  select raise(rollback, 'the send law forbids this change of state');
end;
