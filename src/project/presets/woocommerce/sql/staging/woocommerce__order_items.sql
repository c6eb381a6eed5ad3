/* ---
key = ["order_id", "line"]
audits = ["not_null(quantity)"]
--- */
-- One row a line of an order, with how much of it came back: `quantity - returned` is what somebody kept.
with

lines as (
  select o.id, o.currency, o.ordered_at, unnest(o.line_items) as item
  from woocommerce__orders o
  left join woocommerce__trash t on t.id = o.id and t.modified_at >= o.modified_at
  where o.ordered_at <= $as_of and o._deleted_at is null and t.id is null
),

refund_lines as (
  select unnest(line_items) as item
  from woocommerce__refunds
  where refunded_at <= $as_of and _deleted_at is null
),

refund_notes as (
  select -item['quantity'] as quantity, unnest(item['meta_data']) as note
  from refund_lines
),

-- A line of a refund names the order's line in its notes.
returns as (
  select btrim(note['value'], '"') as line, sum(quantity) as returned
  from refund_notes
  where note['key'] = '_refunded_item_id'
  group by btrim(note['value'], '"')
)

select
  'woocommerce:' || l.id                                         as order_id,
  cast(l.item['id'] as bigint)                                   as line,
  'woocommerce:' || nullif(l.item['product_id'], '0')            as product_id,   -- null for what is no product, or none any more
  l.item['quantity']                                             as quantity,
  least(coalesce(r.returned, 0), l.item['quantity'])             as returned,
  -- Before discounts, with tax; the program makes it unit_price_base.
  (l.item['subtotal'] + coalesce(l.item['subtotal_tax'], 0)) / nullif(l.item['quantity'], 0) as unit_price,
  l.currency,
  l.ordered_at
from lines l
left join returns r on r.line = l.item['id']
where l.item['id'] is not null
