/* ---
key = "customer_id"
--- */
-- Decides who ordered in the last thirty days.
select distinct customer_id
from orders
where ordered_at > $as_of - 30
