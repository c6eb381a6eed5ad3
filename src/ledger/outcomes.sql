-- What each build did with each table it looked at, and what that took.
create table build_outcomes (
  build      text not null references builds (build),
  table_name text not null,
  outcome    text not null,                                -- built | same | reused | kept | blocked
  because    text,                                         -- of kept the code of what was wrong, of blocked the table it waits for
  seconds    real not null,
  primary key (build, table_name)
);
