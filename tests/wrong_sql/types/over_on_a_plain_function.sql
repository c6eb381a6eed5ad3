/* ---
key = "customer_id"
--- */
-- Decides who writes their name in capitals.
select customer_id, upper(first_name) over (partition by country order by customer_id) as first_name
from customer_features
