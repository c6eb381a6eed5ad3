-- file: sql/staging/till__orders.sql
/* ---
key = "order_id"
--- */
-- What is sold over the counter.
select
  receipt_id   as order_id,
  card_number  as customer_id,
  sold_at      as ordered_at,
  'paid'       as status,
  'EUR'        as currency,
  amount       as total
from till__receipts
