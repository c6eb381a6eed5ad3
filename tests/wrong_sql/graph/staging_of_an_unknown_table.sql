-- file: sql/staging/shop__order.sql
/* ---
key = "order_id"
--- */
-- Orders of the second shop.
select
  id as order_id,
  customer_id,
  ordered_at,
  status,
  currency,
  total
from shop__orders
