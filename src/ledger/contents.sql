-- What a built table holds, as a number: equal where its rows are. Empty where it was not counted.
alter table build_tables add column content text not null default '';
