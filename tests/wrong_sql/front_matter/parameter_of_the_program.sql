/* ---
key = "customer_id"
params = { as_of = 2026-11-26T01:00:00Z }
--- */
-- Decides who ordered in the last week.
select distinct customer_id
from orders
where ordered_at > $as_of - interval '7 days'
