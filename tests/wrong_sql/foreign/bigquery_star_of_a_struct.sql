-- file: sql/staging/refunds__feedback.sql
-- A refunded line counts as a bad mark.
with

refund_lines as (
  select customer_id, unnest(refunds) as refund
  from shop__orders
)

select customer_id, refund.*
from refund_lines
