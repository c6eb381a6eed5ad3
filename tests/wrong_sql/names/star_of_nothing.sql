/* ---
key = "customer_id"
--- */
-- Decides who is sent the yearly summary.
select customer_features.*
from customer_features f
where f.orders > 0
