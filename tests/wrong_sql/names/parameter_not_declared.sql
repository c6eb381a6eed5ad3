/* ---
key = "customer_id"
--- */
-- Decides whom the German shop writes to.
select customer_id, email
from customer_features
where country = $country
