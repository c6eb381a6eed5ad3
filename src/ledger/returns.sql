-- How far each mailbox with returned mail has been read.
create table mailboxes (
  mailbox text    primary key,                             -- its name in `[delivery.returns.mailboxes]`
  cursor  text    not null,
  at      integer not null
);
-- Calls of providers whose signature does not cover what they say: a second one under the same key is a copy. Forgotten after `until`.
create table provider_calls (
  key   text    primary key,
  until integer not null
);
create index events_by_message on events (message_id);
