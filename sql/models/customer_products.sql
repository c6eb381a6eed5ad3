/* ---
key = ["customer_id", "product_id"]
audits = ["not_null(recency)"]
--- */
-- Who bought what, how often, and what they kept: the one place where orders meet their lines.
-- Favourite categories, co-purchases and suggestions all start here, so the big join is done once a night.
with

bought as (
  select
    o.customer_id,
    i.product_id,
    o.ordered_at,
    i.quantity,
    case when o.status = 'refunded' then i.quantity else coalesce(i.returned, 0) end as returned  -- all money back counts as all goods back
  from orders o
  join order_items i on i.order_id = o.order_id
  where o.status in ('paid', 'refunded') and i.product_id is not null
),

per_product as (
  select
    customer_id,
    product_id,
    count(*) filter (where quantity > returned)         as times,
    coalesce(sum(greatest(quantity - returned, 0)), 0)  as kept,
    coalesce(sum(returned), 0)                          as returned,
    min(ordered_at)                                     as first_at,
    max(ordered_at)                                     as last_at
  from bought
  group by customer_id, product_id
)

select
  customer_id,
  product_id,
  times,        -- purchases of it that were kept, at least in part
  kept,         -- pieces kept
  returned,     -- pieces that came back
  first_at,
  last_at,
  cast(row_number() over (
    partition by customer_id
    order by kept > 0 desc, last_at desc, product_id
  ) as bigint) as recency  -- 1 = the product bought last among those kept; what was sent back comes after all of them
from per_product
