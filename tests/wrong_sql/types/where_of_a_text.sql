/* ---
key = "customer_id"
--- */
-- Decides who has an address.
select customer_id, email
from customer_features
where email
