-- sql/segments/one_and_done.sql, in DuckDB's words.
with

returns as (
  select o.customer_id, min(days_between(f.first_order_at, o.ordered_at, $brand_timezone)) as days
  from customer_features f
  join orders o on o.customer_id = f.customer_id
  where f.order_days >= 2
    and o.status = 'paid' and coalesce(o.total_base, 0) >= 0
    and days_between(f.first_order_at, o.ordered_at, $brand_timezone) > 0
  group by o.customer_id
),

patience as (
  select
    greatest(coalesce(quantile_disc(days, $most_percent / 100), 0), $min_quiet_days)  as days,
    count(*)                                                                          as people
  from returns
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
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  p.days as patience_days,
  p.people as patience_n,
  f.total_base,
  f.last_product,
  f.last_product_url,
  coalesce(f.last_product_category, f.favourite_category) as tip_category,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  $brand_currency as currency,
  f.tier
from customer_features f
cross join patience p
left join next_product n on n.customer_id = f.customer_id
where f.orders = 1
  and f.quiet_days > p.days
  and f.quiet_days < $max_quiet_days
  and not f.open_complaint
