/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- Who agreed to marketing by email. The database keeps only the present answer, so its time is that of the row.
select
  id                                                            as customer_id,
  'email'                                                       as channel,
  'marketing'                                                   as purpose,
  case when marketing then 'granted' else 'denied' end          as status,
  updated_at                                                    as at
from generic_database__customers
where marketing is not null and updated_at <= $as_of
