/* ---
audits = ["not_null(given_at)", "not_null(kind)"]
--- */
-- What people answered when they were asked: would you recommend us (nps), were you helped (csat), how was it (review).
select
  customer_id,
  given_at,
  kind,
  score,
  nullif(btrim(comment), '') as comment
from generic_http__ratings
where given_at <= $as_of
