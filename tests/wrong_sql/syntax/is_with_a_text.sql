/* ---
key = "customer_id"
--- */
-- Decides who is gold.
select customer_id, email
from customer_features
where tier is 'gold'
