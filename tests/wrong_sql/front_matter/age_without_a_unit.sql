/* ---
key = "customer_id"
inputs = { shop__orders = { max_age = 36 } }
--- */
-- Decides who ordered since yesterday.
select distinct customer_id
from orders
where ordered_at > $as_of - interval '1 day'
