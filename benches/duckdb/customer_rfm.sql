-- sql/models/customer_rfm.sql, in DuckDB's words.
with

buyers as (
  select
    customer_id,
    days_between(last_order_at, $as_of, $brand_timezone)  as recency_days,
    orders,
    total_base
  from customer_features
  where orders > 0
),

fifths as (
  select
    quantile_disc(recency_days, [0.2, 0.4, 0.6, 0.8])                                        as recency,
    quantile_disc(orders, [0.2, 0.4, 0.6, 0.8])                                              as frequency,
    told_apart(quantile_disc(total_base, [0.2, 0.4, 0.6, 0.8]), count(distinct total_base))  as monetary
  from buyers
),

scored as (
  select
    b.customer_id,
    b.recency_days,
    b.orders                              as frequency,
    b.total_base                          as monetary,
    6 - fifth(b.recency_days, x.recency)  as r,
    fifth(b.orders, x.frequency)          as f,
    fifth(b.total_base, x.monetary)       as m
  from buyers b
  cross join fifths x
),

placed as (
  select *, (f + m) // 2 as fm
  from scored
)

select
  customer_id,
  recency_days,
  frequency,
  monetary,
  r,
  f,
  m,

  case
    when r = 5  and fm >= 4 then 'champions'
    when r >= 3 and fm >= 4 then 'loyal'
    when r >= 4 and fm >= 2 then 'potential_loyalists'
    when r = 5              then 'new_customers'
    when r = 4              then 'promising'
    when r = 3  and fm = 3  then 'needs_attention'
    when r = 3              then 'about_to_sleep'
    when fm = 5             then 'cannot_lose'
    when fm >= 3            then 'at_risk'
    when r = 1  and fm = 1  then 'lost'
    else                         'hibernating'
  end as cell
from placed
