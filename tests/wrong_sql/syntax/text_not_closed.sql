/* ---
key = "customer_id"
--- */
-- Decides who is gold and speaks German.
select customer_id, email
from customer_features
where tier = 'gold and locale like 'de%'
