-- file: sql/staging/kiosk__orders.sql
/* ---
key = "order_id"
--- */
-- What is sold over the counter, told by the shop's own list.
select
  'kiosk-' || id  as order_id,
  customer_id,
  ordered_at,
  status,
  currency,
  total           as total_price
from shop__orders
where channel = 'store'
