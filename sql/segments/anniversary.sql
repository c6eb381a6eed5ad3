/* ---
key = "customer_id"
params = { window = "7 days", min_orders = 2, max_quiet_days = 365, lapsed_percent = 300, lapsed_days = 60 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "not_null(years)", "rows(0, 100000)"]
--- */
-- Decides whom we thank for another year: people whose first order was one, two, three … years ago within the
-- last week, by the brand's calendar. Whose first order fell on a 29th of February has the 28th in common years.
--
-- Only those who are customers still: they came back after the first order, ordered within the year that is
-- over, and are not lapsed. `lapsed_percent` and `lapsed_days` repeat that segment's thresholds. To the others
-- "a year with us" would be news. Not while a complaint is open: there is nothing to celebrate just then.
--
-- The occasion is the calendar year the day fell in, so nobody has two in one year, not even when an older
-- first order comes to light.
with

counted as (
  select
    customer_id,
    local_date(first_order_at, $brand_timezone)                                               as first_day,
    months_between(first_order_at, $as_of, $brand_timezone) / 12                              as years,
    months_between(
      local_date(first_order_at, $brand_timezone),
      local_date($as_of, $brand_timezone) - cast($window as interval)) / 12                   as years_before
  from customer_features
  where orders >= $min_orders
    and quiet_days <= $max_quiet_days
    and (quiet_days <= $lapsed_days or quiet_days * 100 <= rhythm_days * $lapsed_percent)
    and not open_complaint
),

reached as (
  select customer_id, years, first_day + cast(concat(cast(years as varchar), ' years') as interval) as day
  from counted
  where years > years_before
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
  cast(cast(date_part('year', r.day) as bigint) as varchar)   as occasion,         -- the year it fell in
  r.day                                                       as anniversary_on,
  r.years,                                                                         -- since the first order
  f.first_order_at,
  f.orders,
  f.items                                                     as items_total,      -- pieces they kept in all these years
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  f.last_order_at,
  f.tier
from reached r
join customer_features f on f.customer_id = r.customer_id
