/* ---
key = "customer_id"
--- */
-- Decides who is in the first half of the price test.
select customer_id
from customer_features
where hash_bucket(customer_id, 'price test') = 0
