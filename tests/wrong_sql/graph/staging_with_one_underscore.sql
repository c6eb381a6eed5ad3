-- file: sql/staging/outlet_orders.sql
/* ---
key = "order_id"
--- */
-- What is sold in the outlet.
select
  'outlet-' || id  as order_id,
  customer_id,
  ordered_at,
  status,
  currency,
  total
from shop__orders
