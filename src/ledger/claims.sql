-- A plan's messages are claimed when its account is opened, all at once: claimed one group after the other, each would touch a page of its own
-- of the index over message ids. What was sent last is then no longer what was claimed last.
create index messages_sent on messages (campaign, at) where state in ('accepted', 'rejected');
