/* ---
key = "customer_id"
--- */
-- Decides who is thanked for a large order in the last month.
with

recent_orders as (
  select customer_id, max(total_base) as largest
  from orders
  where status = 'paid' and ordered_at > $as_of - interval '30 days'
  group by customer_id
)

select customer_id, largest
from recent_order
where largest > 200
