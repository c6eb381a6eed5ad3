/* ---
key = "customer_id"
--- */
-- Decides who ordered in the last ninety days.
select customer_id, last_order_at
from customer_features
where last_order_at > 90
