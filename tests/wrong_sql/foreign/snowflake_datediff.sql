/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, datediff(day, last_order_at, $as_of) as quiet
from customer_features
where orders > 0
