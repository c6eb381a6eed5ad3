/* ---
key = "customer_id"
audits = ["select 1 from orders where total < 0; delete from orders where total < 0"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
