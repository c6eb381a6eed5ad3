-- A delivery touches every row of a plan several times. An index by state would be written at each; these hold only what is looked for,
-- and a message's way through a turn leaves most of them alone.
drop index recipients_by_state;
drop index recipients_by_message;
drop index messages_by_customer;
drop index messages_by_address;
create index recipients_waiting on recipients (plan) where state in ('waiting', 'deferred');
create index recipients_in_hand on recipients (plan) where state in ('reserved', 'committing');
create index recipients_unknown on recipients (message_id) where state = 'unknown';
create index messages_by_customer on messages (customer_id);

-- The send law, as before; told as one text, which is quicker to look through than a list of pairs.
drop trigger send_law;
create trigger send_law before update of state on recipients
when new.state <> old.state and instr(
  ' waiting>reserved waiting>cancelled waiting>expired'
  || ' deferred>reserved deferred>cancelled deferred>expired'
  || ' reserved>committing reserved>waiting reserved>rejected reserved>cancelled reserved>expired'
  || ' committing>accepted committing>rejected committing>deferred committing>unknown committing>waiting'
  || ' unknown>accepted unknown>waiting unknown>cancelled ',
  ' ' || old.state || '>' || new.state || ' ') = 0
begin
  select raise(abort, 'the send law forbids this change of state');
end;
