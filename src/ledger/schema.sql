-- The ledger: what was promised, tried and done. Instants are microseconds since 1970-01-01 UTC.

-- Which slot of which job has been taken, and what became of it.
create table slots (
  job        text    not null,
  slot       integer not null,
  claimed_at integer not null,
  run        text,
  status     text    not null check (status in ('claimed', 'done', 'failed', 'missed')),
  primary key (job, slot)
);

-- One row a run of a job.
create table runs (
  run         text    primary key,
  job         text    not null,
  as_of       integer not null,
  started_at  integer not null,
  finished_at integer,
  status      text    not null check (status in ('running', 'done', 'failed')),
  error       text,
  summary     text
);

-- One row a stream of a run: what was pulled. `finished_at` is null while it runs.
create table pulls (
  run         text    not null,
  source      text    not null,
  stream      text    not null,
  started_at  integer not null,
  finished_at integer,
  rows        integer not null default 0,
  quarantined integer not null default 0,
  requests    integer not null default 0,
  retries     integer not null default 0,
  cursor      text,
  error       text,
  primary key (run, source, stream)
);

-- One row a build; its tables became visible together when `published_at` was set.
create table builds (
  build        text    primary key,
  run          text,
  as_of        integer not null,
  published_at integer not null
);

-- Which version of which table each build stood on: the raw tables it pinned and every table its readers saw.
create table build_tables (
  build       text    not null references builds (build),
  table_name  text    not null,
  kind        text    not null,                            -- raw | ledger | canonical | model | segment | metric
  version     integer not null,
  rows        integer,                                     -- null for raw tables, which are not counted
  fingerprint text    not null,
  primary key (build, table_name)
);
create index build_tables_by_name on build_tables (table_name);

-- The version map: what readers see now.
create table published (
  table_name  text    primary key,
  version     integer not null,
  build       text    not null references builds (build)
);

-- Each person's present state, published by every live build and read at the moment of sending.
create table contact_state (
  customer_id       text    primary key,
  marketing_email   text    not null default 'unknown',  -- granted | denied | unknown
  service_email     text    not null default 'unknown',
  open_complaint    integer not null default 0,
  last_order_at     integer,
  last_complaint_at integer,
  timezone          text    not null,
  deleted           integer not null default 0,
  segments          text    not null default '[]'         -- JSON array of the segments the person is in
);
create table contact_state_published (
  one          integer primary key check (one = 1),
  published_at integer not null,
  as_of        integer not null
);

-- Plans and what people decided about them.
create table plans (
  plan        text    primary key,
  campaign    text    not null,
  kind        text    not null,
  channel     text    not null,
  segment     text    not null,
  as_of       integer not null,
  replay      integer not null,
  hash        text    not null,
  status      text    not null check (status in
              ('draft', 'approved', 'rejected', 'superseded', 'expired', 'delivering', 'delivered', 'stopped', 'held')),
  held_from   text,                                        -- the status to go back to on resume
  in_segment  integer not null,
  planned     integer not null,
  excluded    text    not null,                            -- JSON object: reason -> count
  created_at  integer not null,
  expires_at  integer not null,
  run         text
);
create index plans_by_campaign on plans (campaign, as_of);
create table plan_events (
  plan text    not null references plans (plan),
  at   integer not null,
  what text    not null,                                   -- created | approved | rejected | held | resumed | cancelled | superseded | ...
  hash text,                                               -- the full hash an approval is bound to
  by   text,
  why  text
);
create index plan_events_by_plan on plan_events (plan);

-- One row a planned person of an approved plan: the account that must balance.
create table recipients (
  plan        text    not null references plans (plan),
  customer_id text    not null,
  message_id  text    not null,
  state       text    not null check (state in
              ('waiting', 'reserved', 'committing', 'accepted', 'rejected', 'deferred', 'unknown', 'cancelled', 'expired')),
  reason      text,
  attempt     integer not null default 0,
  next_try_at integer,
  transport   text,                                        -- outbox | smtp | http: by which the last attempt went
  updated_at  integer not null,
  reply       text,                                        -- what the other side answered, without addresses
  primary key (plan, customer_id)
) without rowid;
create index recipients_by_state on recipients (state, plan);
create index recipients_by_message on recipients (message_id);

-- The send law, kept by the ledger itself: whatever program writes here, no state changes but in these ways.
create trigger send_law before update of state on recipients
when new.state <> old.state and (old.state, new.state) not in (values
  ('waiting', 'reserved'), ('waiting', 'cancelled'), ('waiting', 'expired'),
  ('deferred', 'reserved'), ('deferred', 'cancelled'), ('deferred', 'expired'),
  ('reserved', 'committing'), ('reserved', 'waiting'), ('reserved', 'rejected'), ('reserved', 'cancelled'), ('reserved', 'expired'),
  ('committing', 'accepted'), ('committing', 'rejected'), ('committing', 'deferred'), ('committing', 'unknown'), ('committing', 'waiting'),
  ('unknown', 'accepted'), ('unknown', 'waiting'), ('unknown', 'cancelled'))
begin
  select raise(abort, 'the send law forbids this change of state');
end;

-- One row an occasion a person heard about, or may have heard about; unique for ever.
create table messages (
  message_id   text    primary key,
  plan         text    not null,
  campaign     text    not null,
  kind         text    not null,
  channel      text    not null,
  customer_id  text    not null,
  occasion     text    not null,
  step         integer not null,
  variant      text,
  address_hash text,                                       -- HMAC of the normalised address
  state        text    not null,                           -- as in recipients, and unmoved while a message is in hand there
  at           integer not null
);
create index messages_by_customer on messages (customer_id, at);
create index messages_by_address on messages (address_hash, at);

-- Who is in the control group and who gets which variant, recorded at approval, before anything is sent.
create table assignments (
  campaign    text    not null,
  customer_id text    not null,
  occasion    text    not null,
  arm         text    not null,                            -- 'holdout', or the variant's name
  plan        text    not null,
  at          integer not null,
  primary key (campaign, customer_id, occasion)
);

-- Who must not be written to. A row is lifted, never deleted.
create table suppressions (
  id           integer primary key,
  customer_id  text,
  address_hash text,                                       -- HMAC of the normalised address
  address      text,                                       -- emptied when the person is erased
  channel      text    not null default 'email',
  scope        text    not null check (scope in ('all', 'marketing')),
  reason       text    not null,                           -- unsubscribed | complaint | hard_bounce | manual | imported
  at           integer not null,
  by           text,
  lifted_at    integer,
  lifted_by    text
);
create index suppressions_by_address on suppressions (address_hash);
create index suppressions_by_customer on suppressions (customer_id);

-- What came back: opt-outs, answers, bounces, provider events.
create table events (
  event_id    text    primary key,
  at          integer not null,
  kind        text    not null,
  customer_id text,
  campaign    text,
  plan        text,
  message_id  text,
  detail      text
);
