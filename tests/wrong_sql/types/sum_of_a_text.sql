/* ---
key = "customer_id"
--- */
-- Decides who spent most.
select customer_id, sum(currency) as spent
from orders
group by customer_id
