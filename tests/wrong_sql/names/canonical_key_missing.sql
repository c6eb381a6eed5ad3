-- file: sql/staging/market__orders.sql
-- What is sold on the market, told by the shop's own list.
select
  customer_id,
  ordered_at,
  status,
  currency,
  total
from shop__orders
where channel = 'store'
