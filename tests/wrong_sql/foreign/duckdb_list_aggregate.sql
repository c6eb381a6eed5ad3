/* ---
key = "customer_id"
--- */
-- Decides who bought how many things at once.
select customer_id, list_aggregate(list(quantity), 'sum') as pieces
from orders o
join order_items i on i.order_id = o.order_id
group by customer_id
