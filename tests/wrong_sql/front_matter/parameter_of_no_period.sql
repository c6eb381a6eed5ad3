/* ---
key = "customer_id"
params = { window = "5 dayz" }
--- */
-- Decides who ordered within the last days.
select distinct customer_id
from orders
where ordered_at > $as_of - cast($window as interval)
