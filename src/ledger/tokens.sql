-- Refresh tokens that sources gave in exchange for the ones in the settings, which are good for nothing from then on. Sealed: this file
-- is copied and backed up. `given` is a keyed hash of the token in the settings: where access is granted anew, the old line is void.
create table refresh_tokens (
  source text    not null primary key,
  given  text    not null,
  sealed blob    not null,
  at     integer not null
) without rowid;
