/* ---
key = "customer_id"
audits = [
  "not_null(recency_days)",
  "not_null(r)",
  "not_null(f)",
  "not_null(m)",
  "not_null(cell)",
  "accepted(cell, 'champions', 'loyal', 'potential_loyalists', 'new_customers', 'promising', 'needs_attention', 'about_to_sleep', 'at_risk', 'cannot_lose', 'hibernating', 'lost')",
  "change(40%, 20)",
]
--- */
-- Where each buyer stands among all buyers: how recently, how often and for how much they bought, in fifths.
--
-- The scores run from 1 to 5, and 5 is best. They cut the shop's own customers into fifths, so that they mean the
-- same in a shop people visit weekly and in one they visit once a year; equal values get equal scores, so that
-- where most have bought once, a fifth is larger than its name. A score says how somebody compares with others,
-- no more: for a silence that is long for this very person, see the segments `at_risk` and `lapsed`.
-- An order counts as in `customer_features`; whoever has none is not in here.
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
    quantile_cuts(recency_days, 5)  as recency,
    quantile_cuts(orders, 5)        as frequency,
    quantile_cuts(total_base, 5)    as monetary
  from buyers
),

scored as (
  select
    b.customer_id,
    b.recency_days,
    b.orders                                   as frequency,
    b.total_base                               as monetary,
    6 - bucket(b.recency_days, x.recency)      as r,      -- the fewer days, the better
    bucket(b.orders, x.frequency)              as f,
    bucket(b.total_base, x.monetary)           as m
  from buyers b
  cross join fifths x
),

-- The usual map has two axes: r, and the mean of f and m.
placed as (
  select *, (f + m) / 2 as fm     -- whole points: the half is dropped
  from scored
)

select
  customer_id,
  recency_days,                   -- calendar days since the last order that counts, where the brand lives
  frequency,                      -- orders that count
  monetary,                       -- what the shop kept of them
  r,
  f,
  m,

  -- Names and their places are Putler's (putler.com/rfm-analysis), whose ranges overlap. This is the grid without
  -- overlaps that most Python texts on the subject share, with its lowest corner called lost.
  --
  --   fm  5 | cannot_lose  cannot_lose  loyal            loyal                champions
  --       4 | at_risk      at_risk      loyal            loyal                champions
  --       3 | at_risk      at_risk      needs_attention  potential_loyalists  potential_loyalists
  --       2 | hibernating  hibernating  about_to_sleep   potential_loyalists  potential_loyalists
  --       1 | lost         hibernating  about_to_sleep   promising            new_customers
  --           r = 1        2            3                4                    5
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
