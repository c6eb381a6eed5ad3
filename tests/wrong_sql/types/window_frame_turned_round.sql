/* ---
key = "customer_id"
--- */
-- Decides who spent more in three orders than ever before.
select
  customer_id,
  order_id,
  sum(total_base) over (
    partition by customer_id
    order by ordered_at, order_id
    rows between current row and 2 preceding) as lately
from orders
