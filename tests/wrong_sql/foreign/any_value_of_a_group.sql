/* ---
key = "customer_id"
--- */
-- Decides who bought in which channel.
select customer_id, any_value(channel) as channel
from orders
group by customer_id
