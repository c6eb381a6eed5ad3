/* ---
key = "customer_id"
--- */
-- Decides how many bought how often.
select max(customer_id) as customer_id, count(*) as orders
from orders
group by count(*)
