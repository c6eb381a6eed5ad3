/* ---
key = "customer_id"
--- */
-- Decides which order was somebody's second.
select customer_id, order_id
from orders
where row_number() over (partition by customer_id order by ordered_at, order_id) = 2
