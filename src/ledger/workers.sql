-- Who delivers now. A row is a lease: whoever has none any more may neither reserve nor commit, and what it had in hand is another's to settle.
create table workers (
  worker   integer primary key autoincrement,             -- never given twice
  began_at integer not null,
  until    integer not null                                -- renewed while it lives; later anybody may take the lease away
);
alter table recipients add column worker integer;          -- whose it is while reserved or committing
