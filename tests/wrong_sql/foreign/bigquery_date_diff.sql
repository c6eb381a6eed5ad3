/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, date_diff(date($as_of), date(last_order_at), day) as quiet
from customer_features
where orders > 0
