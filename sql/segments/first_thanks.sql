/* ---
key = "customer_id"
params = { window = "5 days", delivery = "3 days" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(first_order_id)", "rows(0, 100000)"]
--- */
-- Decides whom we thank for a first order: people whose very first purchase arrived in the last few days, so
-- that the thanks come when the parcel is on the table, with a tip for the thing that is in it.
-- Not while something is wrong with it: an open complaint is answered, not thanked over, and whoever has all
-- their money back is not thanked at all.
--
-- A first order that went back later makes the next one look like the first. Its buyer was thanked then, so
-- only an order with nothing paid before it is a first one; carts that were never paid do not count.
with

-- Does this shop tell when a parcel arrives? If so, one it does not speak of is on its way.
shop as (
  select count(delivered_at) > 0 as tells
  from orders
),

went_back as (
  select customer_id, min(ordered_at) as first_at
  from orders
  where status = 'refunded' and coalesce(total_base, 0) >= 0
  group by customer_id
),

first_orders as (
  select
    f.customer_id,
    f.first_order_id,
    case when s.tells then o.delivered_at else o.ordered_at + cast($delivery as interval) end as delivered_at
  from customer_features f
  join orders o on o.order_id = f.first_order_id
  cross join shop s
  left join went_back w on w.customer_id = f.customer_id
  where not f.open_complaint
    and coalesce(w.first_at >= f.first_order_at, true)
    and (f.total_base > 0 or coalesce(o.total_base, 0) = 0)      -- what was free cannot be paid back
),

arrived as (
  select customer_id, first_order_id, delivered_at
  from first_orders
  where delivered_at <= $as_of and delivered_at + cast($window as interval) > $as_of
),

-- What was in the parcel, told by its most valuable line that was kept.
lines as (
  select
    a.customer_id,
    a.delivered_at,
    i.quantity > coalesce(i.returned, 0) and coalesce(k.kept, 1) > 0  as is_kept,
    i.quantity - coalesce(i.returned, 0)                              as pieces,
    i.unit_price_base * i.quantity                                    as worth,
    i.line,
    p.product_id
  from arrived a
  left join order_items i on i.order_id = a.first_order_id
  left join products p on p.product_id = i.product_id
  left join customer_products k on k.customer_id = a.customer_id and k.product_id = i.product_id
),

parcels as (
  select
    customer_id,
    delivered_at,
    sum(pieces) filter (where is_kept)  as items,
    first_value(product_id order by product_id is null, worth desc nulls last, line) filter (where is_kept) as product_id
  from lines
  group by customer_id, delivered_at
)

select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.first_order_id,                                  -- the occasion: there is only one first order
  f.first_order_at,
  x.delivered_at,
  p.name as product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as product_url,   -- a letter links to nothing else
  p.category as product_category,
  cast(coalesce(x.items, 0) as bigint) as items      -- pieces in the parcel
from parcels x
join customer_features f on f.customer_id = x.customer_id
left join products p on p.product_id = x.product_id
