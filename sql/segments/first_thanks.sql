/* ---
key = "customer_id"
params = { window = "5 days", delivery = "3 days" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(first_order_id)", "rows(0, 100000)"]
--- */
-- Decides whom we thank for a first order: people whose very first purchase arrived in the last few days, so
-- that the thanks come when the parcel is on the table, with a tip for the thing that is in it.
-- Not while something is wrong with it: an open complaint is answered, not thanked over.
with

first_orders as (
  select
    f.customer_id,
    coalesce(o.delivered_at, o.ordered_at + cast($delivery as interval)) as delivered_at  -- a shop that does not tell: a few days after the order
  from customer_features f
  join orders o on o.order_id = f.first_order_id
  where not f.open_complaint
),

arrived as (
  select customer_id, delivered_at
  from first_orders
  where delivered_at <= $as_of and delivered_at + cast($window as interval) > $as_of
),

-- What was in the parcel, told by its most valuable line that was kept.
parcels as (
  select
    f.customer_id,
    sum(i.quantity - coalesce(i.returned, 0)) as items,
    first_value(p.product_id
      order by i.quantity > coalesce(i.returned, 0) desc, p.product_id is null,
               i.unit_price_base * i.quantity desc nulls last, i.line) as product_id
  from arrived a
  join customer_features f on f.customer_id = a.customer_id
  join order_items i on i.order_id = f.first_order_id
  left join products p on p.product_id = i.product_id
  group by f.customer_id
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
  a.delivered_at,
  p.name as product,
  p.url as product_url,
  p.category as product_category,
  cast(coalesce(x.items, 0) as bigint) as items      -- pieces in the parcel
from arrived a
join customer_features f on f.customer_id = a.customer_id
left join parcels x on x.customer_id = a.customer_id
left join products p on p.product_id = x.product_id
