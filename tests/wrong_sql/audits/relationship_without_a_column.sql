/* ---
key = "customer_id"
audits = ["relationship(last_order_id, orders)"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, last_order_id
from customer_features
where quiet_days > 90
