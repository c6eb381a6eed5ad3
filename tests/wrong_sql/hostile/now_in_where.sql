/* ---
key = "customer_id"
--- */
-- Decides who ordered in the last week.
select distinct customer_id
from orders
where ordered_at > now() - interval '7 days'
