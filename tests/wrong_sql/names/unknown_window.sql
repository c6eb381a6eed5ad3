/* ---
key = "customer_id"
--- */
-- Decides whose second order was larger than the first.
select distinct
  customer_id,
  first_value(total_base) over by_customer as first_total
from orders
window per_customer as (partition by customer_id order by ordered_at, order_id)
