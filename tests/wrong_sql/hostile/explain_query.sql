/* ---
key = "customer_id"
--- */
-- Why is this slow?
explain analyze
select customer_id
from customer_features
