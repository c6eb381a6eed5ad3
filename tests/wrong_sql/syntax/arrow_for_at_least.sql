/* ---
key = "customer_id"
--- */
-- Decides who bought at least three times.
select customer_id, email
from customer_features
where orders => 3
