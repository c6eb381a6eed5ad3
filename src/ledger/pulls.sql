-- What a pull moved, beside the rows that came, and how far behind the source it left the table.
alter table pulls add column bytes     integer not null default 0;  -- of pages, as they came
alter table pulls add column inserted  integer not null default 0;
alter table pulls add column updated   integer not null default 0;
alter table pulls add column deleted   integer not null default 0;  -- newly marked
alter table pulls add column deletes   text;                        -- how the stream sees deletes
alter table pulls add column cursor_at integer;                     -- what the cursor means, where it is an instant
