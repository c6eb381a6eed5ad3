-- sql/segments/detractors.sql, in DuckDB's words.
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
    min(b.score)                                                                     as score,
    first(b.comment order by b.score, b.comment nulls last)                          as comment,
    first(b.campaign order by b.score, b.comment nulls last, b.campaign nulls last)  as campaign
  from answers a
  join feedback b on b.customer_id = a.customer_id and b.given_at = a.given_at
  where b.kind = 'nps' and b.score between 0 and 10
  group by a.customer_id, a.given_at
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
  f.phone,
  written(l.given_at)                                        as occasion,
  l.given_at,
  days_between(l.given_at, $as_of, $brand_timezone)          as days_ago,
  l.score,
  l.comment,
  l.campaign,
  f.tier,
  f.orders,
  f.total_base,
  $brand_currency                                            as currency,
  f.first_order_at,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.last_product,
  f.favourite_category,
  f.open_complaint,
  f.last_ticket_subject,
  f.last_ticket_at
from latest l
join customer_features f on f.customer_id = l.customer_id
where l.score <= $max_score
