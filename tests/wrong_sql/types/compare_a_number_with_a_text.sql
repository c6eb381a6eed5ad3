/* ---
key = "customer_id"
--- */
-- Decides who buys often.
select customer_id, orders
from customer_features
where orders > 'many'
