-- file: sql/models/dormant.sql
/* ---
key = "customer_id"
--- */
-- Everybody who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
-- file: sql/segments/dormant.sql
/* ---
key = "customer_id"
--- */
-- Decides who is written to: everybody who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
