/* ---
key = "customer_id"
--- */
-- Decides who spends more with every order.
select customer_id, order_id, sum(total_base) over (mine rows between unbounded preceding and current row) as so_far
from orders
window mine as (partition by customer_id order by ordered_at)
