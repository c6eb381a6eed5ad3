/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- Every yes and every no, with its time; the newest counts. Of two in one instant the no does.
select
  'email:' || left(encode(sha256(lower_email(email)), 'hex'), 24)  as customer_id,   -- as in generic_file__customers.sql
  'email'                                                          as channel,
  'marketing'                                                      as purpose,
  case when bool_and(agreed) then 'granted' else 'denied' end      as status,
  answered_at                                                      as at
from generic_file__answers
where lower_email(email) is not null and agreed is not null and answered_at <= $as_of
group by lower_email(email), answered_at
