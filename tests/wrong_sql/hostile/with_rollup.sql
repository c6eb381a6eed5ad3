/* ---
key = "customer_id"
--- */
-- Decides who bought more than twice in a channel, and in all of them.
select customer_id, channel, count(*) as orders
from orders
group by customer_id, channel with rollup
having count(*) > 2
