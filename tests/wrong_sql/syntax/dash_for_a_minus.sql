/* ---
key = "customer_id"
--- */
-- Decides who lost a tenth of their orders to refunds.
select customer_id, orders – order_days as same_day_orders
from customer_features
where orders > 10
