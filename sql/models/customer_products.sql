/* ---
key = ["customer_id", "product_id"]
audits = ["not_null(recency)"]
--- */
-- Who bought what, how often, and what they kept: the one place where orders meet their lines.
-- Favourite categories, co-purchases and suggestions all start here, so the big join is done once a night.
-- A line with a negative quantity is goods that came back, whichever order they were bought with.
with

bought as (
  select
    o.customer_id,
    i.product_id,
    o.ordered_at,
    coalesce(i.quantity, 0) < 0        as is_return,
    greatest(i.quantity, 0)            as quantity,
    case
      when i.quantity < 0          then -i.quantity
      when o.status = 'refunded'   then i.quantity          -- all money back counts as all goods back
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
    coalesce(min(ordered_at) filter (where not is_return), min(ordered_at))  as first_at,  -- a return of something bought before our time
    coalesce(max(ordered_at) filter (where not is_return), max(ordered_at))  as last_at
  from bought
  group by customer_id, product_id
)

select
  customer_id,
  product_id,
  least(purchases, kept) as times,  -- purchases of it that were kept, at least in part
  kept,                             -- pieces kept
  returned,                         -- pieces that came back
  first_at,
  last_at,
  cast(row_number() over (
    partition by customer_id
    order by kept > 0 desc, last_at desc, product_id
  ) as bigint) as recency  -- 1 = the product bought last among those kept; what was sent back comes after all of them
from per_product
