/* ---
key = ["order_id", "line"]
--- */
-- The lines of orders. What came back stands in a reduction order of its own, with a negative quantity.
select
  'salesforce:' || i.order_id                                           as order_id,
  row_number() over (partition by i.order_id order by i.number, i.id)   as line,
  'salesforce:' || i.product_id                                         as product_id,
  cast(round(i.quantity) as bigint)                                     as quantity,
  0                                                                     as returned,
  i.unit_price,                                                                         -- the program makes it unit_price_base
  $brand_currency                                                       as currency,    -- with several: upper(o.currency)
  case
    when o.ordered_on = cast(o.created_at as date) then o.created_at
    else cast(o.ordered_on as timestamp)
  end                                                                   as ordered_at   -- the same words as in salesforce__orders.sql
from salesforce__order_items i
join salesforce__orders o on o.id = i.order_id
where not i.is_deleted and i._deleted_at is null and not o.is_deleted and o._deleted_at is null and o.ordered_on <= cast($as_of as date)
