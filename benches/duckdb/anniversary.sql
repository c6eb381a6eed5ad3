-- sql/segments/anniversary.sql, in DuckDB's words.
with

counted as (
  select
    customer_id,
    local_date(first_order_at, $brand_timezone)                    as first_day,
    months_between(first_order_at, $as_of, $brand_timezone) // 12  as years,
    months_between(
      local_date(first_order_at, $brand_timezone),
      cast(local_date($as_of, $brand_timezone) - cast($window as interval) as date)) // 12                  as years_before
  from customer_features
  where orders >= $min_orders
    and quiet_days <= $max_quiet_days
    and (quiet_days <= $lapsed_days or quiet_days * 100 <= rhythm_days * $lapsed_percent)
    and not open_complaint
),

reached as (
  select customer_id, years, cast(first_day + to_years(years) as date) as day
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
  cast(cast(date_part('year', r.day) as bigint) as varchar)  as occasion,
  r.day                                                      as anniversary_on,
  r.years,
  f.first_order_at,
  f.orders,
  f.items                                                     as items_total,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  f.last_order_at,
  f.tier
from reached r
join customer_features f on f.customer_id = r.customer_id
