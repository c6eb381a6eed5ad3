/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
from customer_features
|> where quiet_days > 90
|> select customer_id, email
