/* ---
key = "customer_id"
audits = ["quiet_days > 90"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
