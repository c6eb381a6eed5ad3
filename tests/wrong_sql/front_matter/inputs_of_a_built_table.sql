/* ---
key = "customer_id"
inputs = { orders = { max_age = "36h" } }
--- */
-- Decides who ordered since yesterday.
select distinct customer_id
from orders
where ordered_at > $as_of - interval '1 day'
