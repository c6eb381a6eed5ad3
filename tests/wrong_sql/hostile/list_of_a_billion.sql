/* ---
key = "customer_id"
--- */
-- Makes a long list.
select customer_id, range(0, 1000000000) as numbers
from customer_features
