/* ---
key = ["order_id", "line"]
audits = ["not_null(quantity)"]
--- */
-- One row a line of an order, with how much of it came back or was taken out again: `quantity - returned` is what
-- somebody kept.
with

lines as (
  select id, currency, ordered_at, unnest(line_items) as item
  from shopify_rest__orders
  where ordered_at <= $as_of and not coalesce(test, false) and _deleted_at is null
)

select
  'shopify_rest:' || id                                              as order_id,
  cast(item['id'] as bigint)                                         as line,
  'shopify_rest:' || item['product_id']                              as product_id,   -- null for what is no product, or none any more
  item['quantity']                                                   as quantity,
  item['quantity'] - coalesce(item['current_quantity'], item['quantity']) as returned,
  item['price_set']['shop_money']['amount']                          as unit_price,   -- in the shop's currency; the program makes it unit_price_base
  currency,
  ordered_at
from lines
where item['id'] is not null
