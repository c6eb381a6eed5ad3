-- What people asked for on their page, short of silence. A row is lifted, never deleted.
create table preferences (
  id           integer primary key,
  customer_id  text    not null,
  address_hash text,                                       -- of the address the letter with the link went to
  wish         text    not null check (wish in ('fewer', 'without')),
  campaign     text,                                       -- of `without`: the campaign the person wants no more of
  at           integer not null,
  lifted_at    integer,
  lifted_by    text
);
create index preferences_by_customer on preferences (customer_id);
create index preferences_by_address on preferences (address_hash);
