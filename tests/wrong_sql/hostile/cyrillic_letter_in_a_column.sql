/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, еmail
from customer_features
where quiet_days > 90
