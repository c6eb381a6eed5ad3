-- How many messages left on a day by a relay, in all (an empty name) and to each provider the settings name; counted where a warm-up bounds it.
create table sent_on (
  relay text    not null,
  name  text    not null,
  day   text    not null,                                  -- in the brand's zone
  sent  integer not null,
  primary key (relay, name, day)
);
-- Who said that mail came too fast: a large provider's domain, the keyed hash of another's, or the relay itself (an empty name).
create table pauses (
  relay text    not null,
  name  text    not null,
  until integer not null,
  steps integer not null,                                  -- how often it was said since it was last well
  primary key (relay, name)
);
