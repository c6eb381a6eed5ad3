-- sql/segments/rfm_cannot_lose.sql, in DuckDB's words.
select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.phone,
  f.last_order_id,
  f.last_order_at,
  f.first_order_at,
  f.quiet_days,
  f.usual_days,
  f.orders,
  f.total_base,
  cast(quotient(f.total_base, f.orders) as decimal(18, 2)) as worth_per_order,
  $brand_currency                                 as currency,
  r.r,
  r.f,
  r.m,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  f.last_ticket_subject,
  f.last_ticket_at,
  f.tier
from customer_rfm r
join customer_features f on f.customer_id = r.customer_id
left join next_product n on n.customer_id = r.customer_id
where r.cell = 'cannot_lose'
  and f.quiet_days > $min_quiet_days
  and f.quiet_days < $max_quiet_days
  and f.quiet_days * 100 > coalesce(f.rhythm_days, 0) * $rhythm_percent
  and not f.open_complaint
