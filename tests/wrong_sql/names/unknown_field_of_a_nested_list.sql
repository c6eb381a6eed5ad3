-- file: sql/staging/returns__feedback.sql
-- A refunded line counts as a bad mark, at the time the money went back.
with

refund_lines as (
  select customer_id, unnest(refunds) as refund
  from shop__orders
)

select
  customer_id,
  refund['refunded_at']  as given_at,
  'review'               as kind,
  1                      as score
from refund_lines
