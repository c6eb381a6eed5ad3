/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- Who agreed to marketing by email. An empty cell is no answer, and without a yes the program sends no marketing.
-- Your file has no such column? Delete this file: then only service messages (an apology, say) can be sent, until
-- you add the consents you hold.
select
  customer_id,
  'email'                                                       as channel,
  'marketing'                                                   as purpose,
  case when marketing_consent then 'granted' else 'denied' end  as status,
  coalesce(created_at, timestamp '1970-01-01T00:00:00Z')        as at      -- the file does not tell when: no earlier than they came
from csv__customers
where marketing_consent is not null and coalesce(created_at, $as_of) <= $as_of
