/* ---
key = "customer_id"
--- */
-- Decides who never ordered, and says so.
select customer_id, coalesce(last_order_at, 'never') as last_order
from customer_features
