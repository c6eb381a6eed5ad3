-- sql/segments/promoters.sql, in DuckDB's words.
with

answers as (
  select customer_id, max(given_at) as given_at
  from feedback
  where kind = 'nps'
    and score between 0 and 10
    and given_at <= $as_of
    and given_at + cast($window as interval) > $as_of
  group by customer_id
),

latest as (
  select
    a.customer_id,
    a.given_at,
    min(b.score)                                             as score,
    first(b.comment order by b.score, b.comment nulls last)  as comment
  from answers a
  join feedback b on b.customer_id = a.customer_id and b.given_at = a.given_at
  where b.kind = 'nps' and b.score between 0 and 10
  group by a.customer_id, a.given_at
),

reviews as (
  select customer_id, max(given_at) as "at"
  from feedback
  where kind = 'review' and given_at <= $as_of
  group by customer_id
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
  cast(local_date(l.given_at, $brand_timezone) as varchar)   as occasion,
  l.given_at,
  l.score,
  l.comment,
  case
    when f.last_product_id is not null and coalesce(r."at" < f.last_order_at, true) then 'review'
    else 'friend'
  end                                                        as ask,
  f.last_product_id,
  f.last_product,
  f.last_product_url,
  f.last_order_id,
  f.last_order_at,
  f.first_order_at,
  f.orders,
  f.tier
from latest l
join customer_features f on f.customer_id = l.customer_id
left join reviews r on r.customer_id = l.customer_id
where l.score >= $min_score
  and f.orders >= 1
  and not f.open_complaint
  and coalesce(f.last_complaint_at < l.given_at, true)
  and coalesce(f.last_unhappy_at < l.given_at, true)
