-- sql/segments/win_back_responders.sql, in DuckDB's words.
with

letters as (
  select customer_id, occasion, step, "at"
  from sends
  where campaign = $campaign
    and state in ('accepted', 'unknown')
    and "at" <= $as_of
    and "at" + cast($respond as interval) + cast($window as interval) > $as_of
),

comebacks as (
  select
    l.customer_id,
    min(o.ordered_at)                                                              as ordered_at,
    first(o.order_id order by o.ordered_at, o.order_id)                            as order_id,
    first(l."at" order by o.ordered_at, o.order_id, l."at" desc, l.step desc)      as letter_at,
    first(l.step order by o.ordered_at, o.order_id, l."at" desc, l.step desc)      as letter_step,
    first(l.occasion order by o.ordered_at, o.order_id, l."at" desc, l.step desc)  as silent_since
  from letters l
  join orders o on o.customer_id = l.customer_id
  where o.status = 'paid'
    and coalesce(o.total_base, 0) >= 0
    and o.ordered_at > l."at"
    and o.ordered_at <= l."at" + cast($respond as interval)
    and o.ordered_at <= $as_of
  group by l.customer_id
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
  c.order_id    as comeback_order_id,
  c.ordered_at  as comeback_at,
  c.letter_at,
  c.letter_step,
  days_between(b.ordered_at, c.ordered_at, $brand_timezone)           as away_days,
  case when f.last_order_id = c.order_id then f.last_product end      as product,
  case when f.last_order_id = c.order_id then f.last_product_url end  as product_url,
  case when f.last_order_id = c.order_id then f.last_product_category end as product_category,
  f.orders,
  f.first_order_at,
  f.favourite_category,
  f.tier
from comebacks c
join customer_features f on f.customer_id = c.customer_id
left join orders b on b.order_id = c.silent_since
where c.ordered_at + cast($window as interval) > $as_of
  and not f.open_complaint
