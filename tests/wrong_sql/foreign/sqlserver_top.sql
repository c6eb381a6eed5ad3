/* ---
key = "customer_id"
--- */
-- Decides whom we call first.
select top 50 customer_id, phone
from customer_features
order by total_base desc, customer_id
