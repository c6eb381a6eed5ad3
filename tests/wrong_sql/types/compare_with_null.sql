/* ---
key = "customer_id"
--- */
-- Decides who never ordered.
select customer_id, email
from customer_features
where last_order_at = null
