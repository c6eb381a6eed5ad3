/* ---
key = "customer_id"
params = { most_percent = 80, min_quiet_days = 45, max_quiet_days = 365 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides whom we ask what the first order was like: people who bought once and have been quiet for longer than most
-- of those who came a second time took for it. Before that they are merely on their way; `lapsed` never sees
-- them, since one order is no rhythm.
--
-- How long most take, the shop's own orders tell: four in five of all who have a second order day had it after
-- `patience_days`. People who are still to come back are not among those, so that the figure is rather too small
-- in a young shop; less than `min_quiet_days` is never believed. After a year we leave them alone. Once in all.
with

-- From the first day with an order to the second.
returns as (
  select o.customer_id, min(days_between(f.first_order_at, o.ordered_at, $brand_timezone)) as days
  from customer_features f
  join orders o on o.customer_id = f.customer_id
  where f.order_days >= 2
    and o.status = 'paid' and coalesce(o.total_base, 0) >= 0
    and days_between(f.first_order_at, o.ordered_at, $brand_timezone) > 0
  group by o.customer_id
),

patience as (
  select
    greatest(coalesce(quantile_cuts(days, 100)[$most_percent], 0), $min_quiet_days)  as days,
    count(*)                                                                         as people
  from returns
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
  f.last_order_id,                          -- the occasion: their one order
  f.last_order_at,
  f.quiet_days,
  p.days as patience_days,                  -- what most of those who came back took, or the least we wait
  p.people as patience_n,                   -- the people that rests on
  f.total_base,                             -- what the shop kept of it
  f.last_product,
  f.last_product_url,
  coalesce(f.last_product_category, f.favourite_category) as tip_category,   -- what a useful tip should be about
  n.next_product,                           -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  $brand_currency as currency,              -- of worth and price
  f.tier
from customer_features f
cross join patience p
left join next_product n on n.customer_id = f.customer_id
where f.orders = 1
  and f.quiet_days > p.days
  and f.quiet_days < $max_quiet_days
  and not f.open_complaint
