/* ---
key = "customer_id"
--- */
-- Decides who ordered in the last six weeks.
select distinct customer_id
from orders
where ordered_at > $as_of - interval '3 fortnights'
