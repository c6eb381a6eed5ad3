/* ---
key = ["order_id", "line"]
audits = ["not_null(quantity)"]
--- */
-- One row a line of an order, with how much of it came back: `quantity - returned` is what somebody kept.
with

lines as (
  select id, currency, ordered_at, unnest(line_items) as item
  from generic_http__orders
  where ordered_at <= $as_of
),

refund_lines as (
  select id, unnest(refunds) as refund
  from generic_http__orders
),

-- A refund that names a line says how many pieces came back; one without a line is money, not goods.
returns as (
  select
    id,
    refund['line']           as line,
    sum(refund['quantity'])  as returned
  from refund_lines
  where refund['at'] <= $as_of and refund['line'] is not null
  group by id, refund['line']
)

select
  'generic_http:' || l.id                             as order_id,
  l.item['line']                                      as line,
  'generic_http:' || l.item['product_id']             as product_id,   -- null for a line that is no product: wrapping, a tip
  l.item['quantity']                                  as quantity,
  least(coalesce(r.returned, 0), l.item['quantity'])  as returned,
  l.item['unit_price']                                as unit_price,   -- in the order's currency; the program makes it unit_price_base
  l.currency,
  l.ordered_at
from lines l
left join returns r on r.id = l.id and r.line = l.item['line']
where l.item['line'] is not null
