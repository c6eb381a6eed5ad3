/* ---
key = "customer_id"
--- */
-- Decides who is called first.
select customer_id, phone
from customer_features
limit 50
order by total_base desc, customer_id
