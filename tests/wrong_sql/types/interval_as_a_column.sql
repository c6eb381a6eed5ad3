/* ---
key = "customer_id"
--- */
-- Decides who was a customer for how long.
select customer_id, last_order_at - first_order_at as lifetime
from customer_features
