/* ---
key = "customer_id"
--- */
-- Decides who ordered on which day.
select customer_id, convert(date, last_order_at) as day
from customer_features
