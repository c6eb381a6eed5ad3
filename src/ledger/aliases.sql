-- Whom merged records belong to now: every name a person was known by, and their present id. Kept for ever: an opt-out under an old name
-- holds also when the record that had it is gone.
create table aliases (
  alias       text not null primary key,                   -- <source>:<source_id>
  customer_id text not null
) without rowid;
create index aliases_by_customer on aliases (customer_id);
