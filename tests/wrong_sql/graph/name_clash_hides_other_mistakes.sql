-- file: sql/models/dormant.sql
/* ---
key = "customer_id"
--- */
-- Everybody who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
-- file: sql/metrics/dormant.sql
/* ---
key = "month"
--- */
-- How many have been quiet, by the month they joined in.
select date_trunc('month', first_order_at) as month, count(*) as customers
from customer_features
where quiet_days > 90
group by 1
-- file: sql/segments/hushed.sql
/* ---
key = "customer_id"
--- */
-- Decides who is written to.
select customer_id, quiet_dayz
from customer_features
