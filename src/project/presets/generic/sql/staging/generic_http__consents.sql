/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- Who agreed to marketing by email. Null is no answer, and without a yes the program sends no marketing.
-- Does your system keep every answer with its time? Then one row an answer; the newest counts.
select
  id                                                            as customer_id,
  'email'                                                       as channel,
  'marketing'                                                   as purpose,
  case when marketing then 'granted' else 'denied' end          as status,
  coalesce(marketing_at, created_at)                            as at
from generic_http__customers
where marketing is not null and coalesce(marketing_at, created_at, $as_of) <= $as_of
