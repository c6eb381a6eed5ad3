/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, "[31memail[0m"
from customer_features
