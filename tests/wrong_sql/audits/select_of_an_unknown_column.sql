/* ---
key = "customer_id"
audits = ["select customer_id from select_of_an_unknown_column where quiet < 90"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
