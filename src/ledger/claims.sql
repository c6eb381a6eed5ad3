-- A plan's messages are claimed when its account is opened, all at once: claimed one group after the other, each would touch a page of its own
-- of the index over message ids. What was sent last is then no longer what was claimed last.
create index messages_sent on messages (campaign, at) where state in ('accepted', 'rejected');

-- A message is reserved and committed in one transaction. What is claimed and cannot be sent is reserved alone.
drop trigger send_law;
create trigger send_law before update of state on recipients
when new.state <> old.state and instr(
  ' waiting>reserved waiting>committing waiting>cancelled waiting>expired'
  || ' deferred>reserved deferred>committing deferred>cancelled deferred>expired'
  || ' reserved>committing reserved>waiting reserved>rejected reserved>cancelled reserved>expired'
  || ' committing>accepted committing>rejected committing>deferred committing>unknown committing>waiting'
  || ' unknown>accepted unknown>waiting unknown>cancelled ',
  ' ' || old.state || '>' || new.state || ' ') = 0
begin
  select raise(abort, 'the send law forbids this change of state');
end;
