/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter, by the shop's clock.
select customer_id, days_between(last_order_at, $as_of, 'Europe/Berlinn') as quiet
from customer_features
