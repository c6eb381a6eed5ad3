-- sql/segments/birthday.sql, in DuckDB's words.
with

born as (
  select
    customer_id,
    birthday,
    coalesce(local_date($as_of, timezone), local_date($as_of, $brand_timezone)) as today
  from customers
  where birthday is not null
    and not (date_part('month', birthday) = 1 and date_part('day', birthday) = 1 and date_part('year', birthday) % 10 = 0)
),

counted as (
  select
    customer_id,
    birthday,
    today,
    months_between(birthday, today) // 12                                            as age,
    months_between(birthday, cast(today - cast($window as interval) as date)) // 12  as age_before
  from born
),

reached as (
  select customer_id, today, cast(birthday + to_years(age) as date) as day
  from counted
  where age > age_before and age between $min_age and $max_age
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
  days_between(r.day, r.today)                               as days_ago,
  f.orders,
  f.first_order_at,
  f.favourite_category,
  f.last_order_at,
  f.tier
from reached r
join customer_features f on f.customer_id = r.customer_id
where f.orders >= 1
  and f.quiet_days < $max_quiet_days
  and not f.open_complaint
