-- sql/segments/discount_only.sql, in DuckDB's words.
with

bargains as (
  select
    customer_id,
    count(*)                         as orders,
    sum(coalesce(discount_base, 0))  as saved,
    sum(total_base)                  as paid,
    max(ordered_at)                  as last_at
  from orders
  where status = 'paid'
    and total_base >= 0
    and (total_base > 0 or coalesce(discount_base, 0) <> 0 or coupon_code is not null)
  group by customer_id
  having count(*) >= $min_orders
    and count(*) filter (where coalesce(discount_base, 0) = 0 and coupon_code is null) = 0
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
  b.orders,
  cast(b.saved as decimal(18, 4))                 as saved_base,
  cast(quotient(b.saved * 100, nullif(b.paid + b.saved, 0))
       as decimal(5, 1))                          as saved_percent,
  f.total_base,
  $brand_currency                                 as currency,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  f.tier
from bargains b
join customer_features f on f.customer_id = b.customer_id
left join next_product n on n.customer_id = b.customer_id
where f.quiet_days > $min_quiet_days
  and f.quiet_days <= $max_quiet_days
  and not f.open_complaint
