/* ---
key = "customer_id"
--- */
-- Decides who spends more with every order.
select customer_id, order_id, sum(total_base) over in_time as so_far
from orders
window mine as (partition by customer_id), in_time as (mine order by ordered_at)
