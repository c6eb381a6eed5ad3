-- sql/segments/rfm_champions.sql, in DuckDB's words.
select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  concat('year ', cast(months_between(f.first_order_at, $as_of, $brand_timezone) // 12 + 1 as varchar)) as occasion,
  months_between(f.first_order_at, $as_of, $brand_timezone)                         as months,
  f.first_order_at,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.total_base,
  $brand_currency                                                                   as currency,
  r.r,
  r.f,
  r.m,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  f.tier
from customer_rfm r
join customer_features f on f.customer_id = r.customer_id
left join next_product n on n.customer_id = r.customer_id
where r.cell = 'champions'
  and not f.open_complaint
  and f.quiet_days > $min_quiet_days
  and months_between(f.first_order_at, $as_of, $brand_timezone) >= $min_months
