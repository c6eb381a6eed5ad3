/* ---
key = "customer_id"
--- */
-- Decides whom we call first.
select customer_id, phone
from customer_features
order by 3 desc, customer_id
limit 50
