/* ---
key = "customer_id"
--- */
-- Decides who bought more than twice in the shop.
select customer_id, count(*) as orders
from orders
group by customer_id
where channel = 'store'
