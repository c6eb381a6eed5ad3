-- The ledger in PostgreSQL: the same tables as in SQLite, in their present shape. Instants are microseconds since 1970-01-01 UTC; truth is 1 or 0.
-- `rowid` counts rows in the order they came.

-- Text compared by its bytes.
create domain utf8 as text collate "C";

-- The words SQLite has and PostgreSQL has not.
create function json_each(list text) returns table (key bigint, value jsonb) language sql immutable strict rows 64 as
  $$ select place - 1, item from jsonb_array_elements(list::jsonb) with ordinality as of (item, place) $$;
create function instr(whole text, part text) returns bigint language sql immutable strict as
  $$ select position(part in whole)::bigint $$;

-- Which slot of which job has been taken, and what became of it.
create table slots (
  job        utf8    not null,
  slot       bigint  not null,
  claimed_at bigint  not null,
  run        utf8,
  status     utf8    not null check (status in ('claimed', 'done', 'failed', 'missed')),
  primary key (job, slot)
);

-- One row a run of a job.
create table runs (
  run         utf8    primary key,
  job         utf8    not null,
  as_of       bigint  not null,
  started_at  bigint  not null,
  finished_at bigint,
  status      utf8    not null check (status in ('running', 'done', 'failed')),
  error       utf8,
  summary     utf8
);

-- One row a stream of a run: what was pulled. `finished_at` is null while it runs.
create table pulls (
  run         utf8    not null,
  source      utf8    not null,
  stream      utf8    not null,
  started_at  bigint  not null,
  finished_at bigint,
  rows        bigint  not null default 0,
  quarantined bigint  not null default 0,
  requests    bigint  not null default 0,
  retries     bigint  not null default 0,
  cursor      utf8,
  error       utf8,
  drift       utf8,                                        -- what of the source differed from what is declared
  bytes       bigint  not null default 0,                  -- of pages, as they came
  inserted    bigint  not null default 0,
  updated     bigint  not null default 0,
  deleted     bigint  not null default 0,                  -- newly marked
  deletes     utf8,                                        -- how the stream sees deletes
  cursor_at   bigint,                                      -- what the cursor means, where it is an instant
  rowid       bigint  generated always as identity,
  primary key (run, source, stream)
);

-- One row a build; its tables became visible together when `published_at` was set.
create table builds (
  build        utf8    primary key,
  run          utf8,
  as_of        bigint  not null,
  published_at bigint  not null,
  rowid        bigint  generated always as identity
);

-- Which version of which table each build stood on: the raw tables it pinned and every table its readers saw.
create table build_tables (
  build       utf8    not null references builds (build),
  table_name  utf8    not null,
  kind        utf8    not null,                            -- raw | ledger | canonical | model | segment | metric
  version     bigint  not null,
  rows        bigint,                                      -- null for raw tables, which are not counted
  fingerprint utf8    not null,
  content     utf8    not null default '',                 -- a number, equal where its rows are; empty where it was not counted
  primary key (build, table_name)
);
create index build_tables_by_name on build_tables (table_name);

-- The version map: what readers see now.
create table published (
  table_name  utf8    primary key,
  version     bigint  not null,
  build       utf8    not null references builds (build)
);

-- Each person's present state, published by every live build and read at the moment of sending.
create table contact_state (
  customer_id       utf8    primary key,
  marketing_email   utf8    not null default 'unknown',  -- granted | denied | unknown
  service_email     utf8    not null default 'unknown',
  open_complaint    bigint  not null default 0,
  last_order_at     bigint,
  last_complaint_at bigint,
  timezone          utf8    not null,
  deleted           bigint  not null default 0,
  segments          utf8    not null default '[]'         -- JSON array of the segments the person is in
);
create table contact_state_published (
  one          bigint  primary key check (one = 1),
  published_at bigint  not null,
  as_of        bigint  not null
);

-- Plans and what people decided about them.
create table plans (
  plan        utf8    primary key,
  campaign    utf8    not null,
  kind        utf8    not null,
  channel     utf8    not null,
  segment     utf8    not null,
  as_of       bigint  not null,
  replay      bigint  not null,
  hash        utf8    not null,
  status      utf8    not null check (status in
              ('draft', 'approved', 'rejected', 'superseded', 'expired', 'delivering', 'delivered', 'stopped', 'held')),
  held_from   utf8,                                        -- the status to go back to on resume
  in_segment  bigint  not null,
  planned     bigint  not null,
  excluded    utf8    not null,                            -- JSON object: reason -> count
  created_at  bigint  not null,
  expires_at  bigint  not null,
  run         utf8
);
create index plans_by_campaign on plans (campaign, as_of);
create table plan_events (
  plan utf8    not null references plans (plan),
  at   bigint  not null,
  what utf8    not null,                                   -- created | approved | rejected | held | resumed | cancelled | superseded | ...
  hash utf8,                                               -- the full hash an approval is bound to
  by   utf8,
  why  utf8,
  rowid bigint  generated always as identity
);
create index plan_events_by_plan on plan_events (plan);

-- One row a planned person of an approved plan: the account that must balance.
create table recipients (
  plan        utf8    not null references plans (plan),
  customer_id utf8    not null,
  message_id  utf8    not null,
  state       utf8    not null check (state in
              ('waiting', 'reserved', 'committing', 'accepted', 'rejected', 'deferred', 'unknown', 'cancelled', 'expired')),
  reason      utf8,
  attempt     bigint  not null default 0,
  next_try_at bigint,
  transport   utf8,                                        -- outbox | smtp | http: by which the last attempt went
  updated_at  bigint  not null,
  reply       utf8,                                        -- what the other side answered, without addresses
  worker      bigint,                                      -- whose it is while reserved or committing
  primary key (plan, customer_id)
);
create index recipients_waiting on recipients (plan) where state in ('waiting', 'deferred');
create index recipients_in_hand on recipients (plan) where state in ('reserved', 'committing');
create index recipients_unknown on recipients (message_id) where state = 'unknown';

-- The send law, kept by the ledger itself: whatever program writes here, no state changes but in these ways.
create function send_law() returns trigger language plpgsql as $$
begin
  if position(' ' || old.state || '>' || new.state || ' ' in
    ' waiting>reserved waiting>committing waiting>cancelled waiting>expired'
    || ' deferred>reserved deferred>committing deferred>cancelled deferred>expired'
    || ' reserved>committing reserved>waiting reserved>rejected reserved>cancelled reserved>expired'
    || ' committing>accepted committing>rejected committing>deferred committing>unknown committing>waiting'
    || ' unknown>accepted unknown>waiting unknown>cancelled ') = 0
  then
    raise exception 'the send law forbids this change of state';
  end if;
  return new;
end $$;
create trigger send_law before update of state on recipients for each row when (new.state <> old.state) execute function send_law();

-- One row an occasion a person heard about, or may have heard about; unique for ever.
create table messages (
  message_id   utf8    primary key,
  plan         utf8    not null,
  campaign     utf8    not null,
  kind         utf8    not null,
  channel      utf8    not null,
  customer_id  utf8    not null,
  occasion     utf8    not null,
  step         bigint  not null,
  variant      utf8,
  address_hash utf8,                                       -- HMAC of the normalised address
  state        utf8    not null,                           -- as in recipients, and unmoved while a message is in hand there
  at           bigint  not null
);
create index messages_by_customer on messages (customer_id);
create index messages_sent on messages (campaign, at) where state in ('accepted', 'rejected');

-- Who is in the control group and who gets which variant, recorded at approval, before anything is sent.
create table assignments (
  campaign    utf8    not null,
  customer_id utf8    not null,
  occasion    utf8    not null,
  arm         utf8    not null,                            -- 'holdout', or the variant's name
  plan        utf8    not null,
  at          bigint  not null,
  primary key (campaign, customer_id, occasion)
);

-- Who must not be written to. A row is lifted, never deleted.
create table suppressions (
  id           bigint  generated by default as identity primary key,
  customer_id  utf8,
  address_hash utf8,                                       -- HMAC of the normalised address
  address      utf8,                                       -- emptied when the person is erased
  channel      utf8    not null default 'email',
  scope        utf8    not null check (scope in ('all', 'marketing')),
  reason       utf8    not null,                           -- unsubscribed | complaint | hard_bounce | manual | imported
  at           bigint  not null,
  by           utf8,
  lifted_at    bigint,
  lifted_by    utf8
);
create index suppressions_by_address on suppressions (address_hash);
create index suppressions_by_customer on suppressions (customer_id);

-- What came back: opt-outs, answers, bounces, provider events.
create table events (
  event_id    utf8    primary key,
  at          bigint  not null,
  kind        utf8    not null,
  customer_id utf8,
  campaign    utf8,
  plan        utf8,
  message_id  utf8,
  detail      utf8
);

-- Whom merged records belong to now: every name a person was known by, and their present id. Kept for ever: an opt-out under an old name
-- holds also when the record that had it is gone.
create table aliases (
  alias       utf8 not null primary key,                   -- <source>:<source_id>
  customer_id utf8 not null
);
create index aliases_by_customer on aliases (customer_id);

-- Refresh tokens that sources gave in exchange for the ones in the settings, which are good for nothing from then on. Sealed: this file
-- is copied and backed up. `given` is a keyed hash of the token in the settings: where access is granted anew, the old line is void.
create table refresh_tokens (
  source utf8    not null primary key,
  given  utf8    not null,
  sealed bytea   not null,
  at     bigint  not null
);

-- What each build did with each table it looked at, and what that took.
create table build_outcomes (
  build      utf8 not null references builds (build),
  table_name utf8 not null,
  outcome    utf8 not null,                                -- built | same | reused | kept | blocked
  because    utf8,                                         -- of kept the code of what was wrong, of blocked the table it waits for
  seconds    double precision not null,
  primary key (build, table_name)
);

-- What other systems were told about suppressions: one row a suppression, a section of a source and whom the call names there. The intent
-- stands before the call, the outcome after it.
create table write_backs (
  source      utf8    not null,
  section     utf8    not null,
  suppression bigint  not null references suppressions (id),
  target      utf8    not null,                            -- the id that the call names; empty where that is the address alone
  state       utf8    not null check (state in ('telling', 'told', 'not_there', 'failed', 'unknown')),
  attempt     bigint  not null,                            -- 0: nothing was called, because that system knows no such person
  reason      utf8,                                        -- why it is not told, without addresses
  at          bigint  not null,
  primary key (source, section, suppression, target)
);

-- Whatever program writes here: nobody is told again once the other side has answered.
create function told_once() returns trigger language plpgsql as $$
begin
  if (old.state = 'not_there' and old.attempt > 0) or (old.state, new.state) not in (values
    ('telling', 'told'), ('telling', 'not_there'), ('telling', 'failed'), ('telling', 'unknown'),
    ('failed', 'telling'), ('unknown', 'telling'), ('not_there', 'telling'))
  then
    raise exception 'what a system was told is not told again';
  end if;
  return new;
end $$;
create trigger told_once before update of state on write_backs for each row when (new.state <> old.state) execute function told_once();

-- How far each mailbox with returned mail has been read.
create table mailboxes (
  mailbox utf8    primary key,                             -- its name in `[delivery.returns.mailboxes]`
  cursor  utf8    not null,
  at      bigint  not null
);
-- Calls of providers whose signature does not cover what they say: a second one under the same key is a copy. Forgotten after `until`.
create table provider_calls (
  key   utf8    primary key,
  until bigint  not null
);
create index events_by_message on events (message_id);

-- What people asked for on their page, short of silence. A row is lifted, never deleted.
create table preferences (
  id           bigint  generated by default as identity primary key,
  customer_id  utf8    not null,
  address_hash utf8,                                       -- of the address the letter with the link went to
  wish         utf8    not null check (wish in ('fewer', 'without')),
  campaign     utf8,                                       -- of `without`: the campaign the person wants no more of
  at           bigint  not null,
  lifted_at    bigint,
  lifted_by    utf8
);
create index preferences_by_customer on preferences (customer_id);
create index preferences_by_address on preferences (address_hash);

-- Who delivers now. A row is a lease: whoever has none any more may neither reserve nor commit, and what it had in hand is another's to settle.
create table workers (
  worker   bigint  generated by default as identity primary key,             -- never given twice
  began_at bigint  not null,
  until    bigint  not null                                -- renewed while it lives; later anybody may take the lease away
);

-- How many messages left on a day by a relay, in all (an empty name) and to each provider the settings name; counted where a warm-up bounds it.
create table sent_on (
  relay utf8    not null,
  name  utf8    not null,
  day   utf8    not null,                                  -- in the brand's zone
  sent  bigint  not null,
  primary key (relay, name, day)
);
-- Who said that mail came too fast: a large provider's domain, the keyed hash of another's, or the relay itself (an empty name).
create table pauses (
  relay utf8    not null,
  name  utf8    not null,
  until bigint  not null,
  steps bigint  not null,                                  -- how often it was said since it was last well
  primary key (relay, name)
);
