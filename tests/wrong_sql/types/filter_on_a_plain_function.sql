/* ---
key = "customer_id"
--- */
-- Decides who writes their name in capitals.
select customer_id, upper(first_name) filter (where country = 'DE') as first_name
from customer_features
