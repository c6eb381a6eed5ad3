/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, days_between(last_order_at) as quiet
from customer_features
