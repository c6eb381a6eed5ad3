/* ---
key = "customer_id"
params = { min_months = 3, min_quiet_days = 7 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "rows(0, 500000)", "change(60%, 20)"]
--- */
-- Decides whom we let in first: champions of `customer_rfm` (came lately, come often, spend most) hear of what is
-- new before others do, and are asked what we should do better. They need no discount; they would have come.
--
-- Once in each year of their custom, counted from the first order, so that not everybody is written to on one day.
-- `loyal_thanks` says thank you for a step up and asks for nothing; this is for those who stay at the top. Not in
-- the week after an order, not while a complaint is open, and not before they have been with us for a season.
with

champions as (
  select customer_id, r, f, m
  from customer_rfm
  where cell = 'champions'
),

known as (
  select *, months_between(first_order_at, $as_of, $brand_timezone) as months
  from customer_features
  where not open_complaint and quiet_days > $min_quiet_days
)

select
  k.customer_id,
  k.email,
  k.first_name,
  k.last_name,
  k.honorific,
  k.locale,
  k.timezone,
  k.country,
  concat('year ', cast(k.months / 12 + 1 as varchar)) as occasion,   -- their first, second, … year with us
  k.months,                                                          -- since their first order
  k.first_order_at,
  k.last_order_id,
  k.last_order_at,
  k.quiet_days,
  k.orders,
  k.total_base,                                                      -- what they have been worth so far
  $brand_currency as currency,
  c.r,
  c.f,
  c.m,
  k.favourite_category,
  k.last_product,
  k.last_product_url,
  n.next_product,                                                    -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  k.tier
from champions c
join known k on k.customer_id = c.customer_id
left join next_product n on n.customer_id = c.customer_id
where k.months >= $min_months
