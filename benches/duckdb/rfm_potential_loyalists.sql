-- sql/segments/rfm_potential_loyalists.sql, in DuckDB's words.
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
  f.orders,
  f.total_base,
  r.r,
  r.f,
  r.m,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  coalesce(f.last_product_category, f.favourite_category) as tip_category,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  $brand_currency as currency,
  f.tier
from customer_rfm r
join customer_features f on f.customer_id = r.customer_id
left join next_product n on n.customer_id = r.customer_id
where r.cell = 'potential_loyalists'
  and f.quiet_days > $min_quiet_days
  and not f.open_complaint
