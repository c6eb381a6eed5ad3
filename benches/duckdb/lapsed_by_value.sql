-- sql/segments/lapsed_by_value.sql, in DuckDB's words.
with

fifths as (
  select told_apart(quantile_disc(f.total_base, [0.2, 0.4, 0.6, 0.8]), count(distinct f.total_base)) as cuts
  from lapsed l
  join customer_features f on f.customer_id = l.customer_id
),

split as (
  select
    f.customer_id,
    f.phone,
    f.total_base,
    quotient(f.total_base, f.orders)  as per_order,
    fifth(f.total_base, x.cuts)       as fifth
  from lapsed l
  join customer_features f on f.customer_id = l.customer_id
  cross join fifths x
  where not f.open_complaint
)

select
  l.customer_id,
  l.email,
  l.first_name,
  l.last_name,
  l.honorific,
  l.locale,
  l.timezone,
  l.country,
  s.phone,
  case
    when s.fifth = 5  then 'high'
    when s.fifth >= 3 then 'middle'
    else 'low'
  end                                       as value_tier,
  s.total_base,
  cast(s.per_order as decimal(18, 2))       as worth_per_order,
  l.last_order_id,
  l.last_order_at,
  l.quiet_days,
  l.orders,
  l.favourite_category,
  l.last_product,
  l.last_product_url,
  l.next_product,
  l.next_product_url,
  l.next_product_reason,
  l.next_product_price,
  l.tier,
  l.step,
  l.currency
from lapsed l
join split s on s.customer_id = l.customer_id
