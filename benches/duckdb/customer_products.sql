-- sql/models/customer_products.sql, in DuckDB's words.
with

bought as (
  select
    o.customer_id,
    i.product_id,
    o.ordered_at,
    coalesce(i.quantity, 0) < 0  as is_return,
    greatest(i.quantity, 0)      as quantity,
    case
      when i.quantity < 0          then -i.quantity
      when o.status = 'refunded'   then i.quantity
      else coalesce(i.returned, 0)
    end                                as returned
  from orders o
  join order_items i on i.order_id = o.order_id
  where i.product_id is not null
    and (o.status in ('paid', 'refunded') or (i.quantity < 0 and o.status <> 'cancelled'))
),

per_product as (
  select
    customer_id,
    product_id,
    count(*) filter (where quantity > returned)                              as purchases,
    greatest(coalesce(sum(quantity), 0) - coalesce(sum(returned), 0), 0)     as kept,
    coalesce(sum(returned), 0)                                               as returned,
    coalesce(min(ordered_at) filter (where not is_return), min(ordered_at))  as first_at,
    coalesce(max(ordered_at) filter (where not is_return), max(ordered_at))  as last_at
  from bought
  group by customer_id, product_id
)

select
  customer_id,
  product_id,
  least(purchases, kept) as times,
  kept,
  returned,
  first_at,
  last_at,
  cast(row_number() over (
    partition by customer_id
    order by kept > 0 desc, last_at desc, product_id
  ) as bigint) as recency
from per_product
