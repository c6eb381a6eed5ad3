/* ---
key = "customer_id"
--- */
-- Decides who bought more than twice, and where.
select customer_id, channel, count(*) as orders
from orders
where status = 'paid'
group by customer_id
having count(*) > 2
