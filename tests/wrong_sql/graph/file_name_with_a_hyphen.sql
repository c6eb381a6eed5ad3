-- file: sql/segments/gold-customers.sql
/* ---
key = "customer_id"
--- */
-- Decides who is gold.
select customer_id, email
from customer_features
where tier = 'gold'
