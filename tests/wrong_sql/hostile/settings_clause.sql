/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, email
from customer_features
where quiet_days > 90
settings max_threads = 64
