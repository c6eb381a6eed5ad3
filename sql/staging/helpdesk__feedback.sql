/* ---
audits = ["not_null(given_at)", "not_null(kind)"]
--- */
-- What people answered when they were asked: would you recommend us (nps), were you helped (csat), how was it (review).
select
  'email:' || left(encode(sha256(lower_email(requester_email)), 'hex'), 24) as customer_id,  -- as declared in helpdesk__customers.sql
  given_at,
  kind,
  score,
  nullif(btrim(comment), '')                                                as comment
from helpdesk__ratings
where given_at <= $as_of and lower_email(requester_email) is not null
