-- file: sql/staging/branch__orders.sql
/* ---
key = "order_id"
--- */
-- What is sold in the branch.
select
  'branch-' || id  as order_id,
  customer_id,
  ordered_at,
  status,
  currency,
  total
from shop__orders
where channel = 'store'
-- file: sql/staging/branch__feedback.sql
-- An order in the branch that was refunded is a bad mark.
select
  customer_id,
  ordered_at  as given_at,
  'nps'       as kind,
  0           as score
from branch__orders
where status = 'refunded'
