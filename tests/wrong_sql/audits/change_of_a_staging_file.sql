-- file: sql/staging/fair__orders.sql
/* ---
key = "order_id"
audits = ["change(40%)"]
--- */
-- What is sold at the fair, told by the shop's own list.
select
  'fair-' || id  as order_id,
  customer_id,
  ordered_at,
  status,
  currency,
  total
from shop__orders
where channel = 'store'
