/* ---
key = "customer_id"
--- */
-- Decides who is asked: a hundred people.
select customer_id, email
from customer_features
order by random(), customer_id
limit 100
