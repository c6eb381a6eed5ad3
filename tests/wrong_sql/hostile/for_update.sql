/* ---
key = "customer_id"
--- */
-- Decides who is called, and keeps others from calling.
select customer_id, phone
from customer_features
where tier = 'platinum'
for update
