-- sql/segments/first_thanks.sql, in DuckDB's words.
with

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
    case when s.tells then o.delivered_at else o.ordered_at + cast($delivery as interval) end as delivered_at
  from customer_features f
  join orders o on o.order_id = f.first_order_id
  cross join shop s
  left join went_back w on w.customer_id = f.customer_id
  where not f.open_complaint
    and coalesce(w.first_at >= f.first_order_at, true)
    and (f.total_base > 0 or coalesce(o.total_base, 0) = 0)
),

arrived as (
  select customer_id, delivered_at
  from first_orders
  where delivered_at <= $as_of and delivered_at + cast($window as interval) > $as_of
),

parcels as (
  select
    f.customer_id,
    sum(i.quantity - coalesce(i.returned, 0)) as items,
    first(p.product_id order by p.product_id is null, i.unit_price_base * i.quantity desc nulls last, i.line) as product_id
  from arrived a
  join customer_features f on f.customer_id = a.customer_id
  join order_items i on i.order_id = f.first_order_id
  left join products p on p.product_id = i.product_id
  left join customer_products k on k.customer_id = f.customer_id and k.product_id = i.product_id
  where i.quantity > coalesce(i.returned, 0) and coalesce(k.kept, 1) > 0
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
  f.first_order_id,
  f.first_order_at,
  a.delivered_at,
  p.name as product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as product_url,
  p.category as product_category,
  cast(coalesce(x.items, 0) as bigint) as items
from arrived a
join customer_features f on f.customer_id = a.customer_id
left join parcels x on x.customer_id = a.customer_id
left join products p on p.product_id = x.product_id
