-- What other systems were told about suppressions: one row a suppression, a section of a source and whom the call names there. The intent
-- stands before the call, the outcome after it.
create table write_backs (
  source      text    not null,
  section     text    not null,
  suppression integer not null references suppressions (id),
  target      text    not null,                            -- the id that the call names; empty where that is the address alone
  state       text    not null check (state in ('telling', 'told', 'not_there', 'failed', 'unknown')),
  attempt     integer not null,                            -- 0: nothing was called, because that system knows no such person
  reason      text,                                        -- why it is not told, without addresses
  at          integer not null,
  primary key (source, section, suppression, target)
) without rowid;

-- Whatever program writes here: nobody is told again once the other side has answered.
create trigger told_once before update of state on write_backs
when new.state <> old.state and ((old.state = 'not_there' and old.attempt > 0) or (old.state, new.state) not in (values
  ('telling', 'told'), ('telling', 'not_there'), ('telling', 'failed'), ('telling', 'unknown'),
  ('failed', 'telling'), ('unknown', 'telling'), ('not_there', 'telling')))
begin
  select raise(abort, 'what a system was told is not told again');
end;
