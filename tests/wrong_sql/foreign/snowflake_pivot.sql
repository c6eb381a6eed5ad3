/* ---
key = "customer_id"
--- */
-- Decides who bought how often in which channel.
select *
from (select customer_id, channel, order_id from orders)
pivot (count(order_id) for channel in ('web', 'store'))
