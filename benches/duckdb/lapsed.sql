-- sql/segments/lapsed.sql, in DuckDB's words.
with

letters as (
  select customer_id, occasion, max(step) as step, max("at") as last_at
  from sends
  where campaign = 'win-back' and state in ('accepted', 'unknown') and "at" <= $as_of
  group by customer_id, occasion
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
  f.orders,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  f.tier,
  case
    when l.step is null then 1
    when l.step >= $letters or days_between(l.last_at, $as_of, $brand_timezone) < $letter_gap_days then l.step
    else l.step + 1
  end as step,
  $brand_currency as currency
from customer_features f
left join letters l on l.customer_id = f.customer_id and l.occasion = f.last_order_id
left join next_product n on n.customer_id = f.customer_id
where f.orders >= $min_orders
  and f.quiet_days > $min_quiet_days
  and f.quiet_days * 100 > coalesce(f.rhythm_days, 0) * $rhythm_percent
  and f.quiet_days < $max_quiet_days
