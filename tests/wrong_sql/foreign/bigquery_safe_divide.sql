/* ---
key = "customer_id"
--- */
-- Decides who spends how much an order.
select customer_id, safe_divide(total_base, orders) as value_per_order
from customer_features
