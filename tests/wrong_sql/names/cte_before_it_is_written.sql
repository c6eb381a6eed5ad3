/* ---
key = "customer_id"
--- */
-- Decides who bought twice in one week and might like a larger pack.
with

quick as (
  select customer_id, count(*) as orders
  from week
  group by customer_id
),

week as (
  select customer_id, order_id
  from orders
  where status = 'paid' and ordered_at > $as_of - interval '7 days'
)

select customer_id, orders
from quick
where orders >= 2
