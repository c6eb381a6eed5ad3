/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, email
from customer_features
wehre quiet_days > 90
