-- What speaks against a campaign, by which it may be stopped: looked for with every few hundred messages, and seldom there.
create index events_against on events (campaign, at) where kind in ('bounced', 'complained');
