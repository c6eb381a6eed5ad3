/* ---
key = "customer_id"
--- */
-- Decides who bought more than twice.
select customer_id, count(*) as orders
from orders
where status = 'paid' and count(*) > 2
group by customer_id
