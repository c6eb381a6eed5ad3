/* ---
key = "customer_id"
params = { window = "3 days", min_age = 16, max_age = 105, max_quiet_days = 540 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "not_null(days_ago)", "rows(0, 100000)"]
--- */
-- Decides whom we wish a happy birthday: people who have it today where they live, or had it in the two days
-- before, so that a night that failed leaves nobody out. Who was born on a 29th of February has the 28th in
-- common years.
--
-- A birthday counts when it can be one: an age of 16 to 105, and not the first of January 1970 or of any other
-- year that ends in a nought, which is what forms put where nobody said. Only people who bought something, and
-- not longer ago than we write to anybody; not while a complaint is open.
--
-- Neither the date of birth nor the age is in here: no letter should mention them, and a plan should hold no
-- more about people than it needs.
with

-- Who lives in a zone nobody knows lives by the brand's clock.
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
    months_between(birthday, today) / 12                                 as age,
    months_between(birthday, today - cast($window as interval)) / 12     as age_before
  from born
),

reached as (
  select customer_id, today, birthday + cast(concat(cast(age as varchar), ' years') as interval) as day
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
  cast(cast(date_part('year', r.day) as bigint) as varchar)   as occasion,   -- the year it fell in
  days_between(r.day, r.today)                                as days_ago,   -- 0 on the day itself; a wish that comes later says so
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
