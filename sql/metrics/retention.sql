/* ---
key = "month"
params = { months = 24, repeat_days = 90, lookback_months = 12, silence_months = 6 }
audits = ["unique(month)", "not_null(month)", "not_null(active_customers)"]
--- */
-- Month by month: do customers come back?
--
-- Repeat rate: of the people whose first order fell into the month, the share who ordered again within
--   `repeat_days` days. It is shown once every one of them has had those days, and is null before: a young
--   month would look worse than it is.
-- Churn rate: of the people who bought in the `lookback_months` months up to and including the month, the
--   share who bought nothing in the `silence_months` months after it. Shown once those months are over, and
--   only where the table looks back as far. This is a definition, not an observation: nobody tells a shop that
--   they have left. Where people buy once a year, set `silence_months` to 12.
-- The table shows the last `months` months. Do not look back further than your systems keep people who have
--   gone quiet: of earlier months only those who stayed are left, and every rate would flatter. (The practice
--   shop erases people after two quiet years.)
-- Every rate stands beside the number of people it rests on. Months are the brand's calendar months; an
-- order counts when it was paid and not wholly refunded; money is what the shop kept, in its own currency.
-- A row with a negative total is no order: it lowers the revenue of the month in which the money went back.
-- Orders of guests who left neither account nor address are left out, money and all: each would look like
-- a new customer who never came back.
with

paid as (
  select
    customer_id,
    ordered_at,
    local_date(ordered_at, $brand_timezone)                                                       as day,
    coalesce(total_base, 0) >= 0                                                                  as is_order,
    case when total_base < 0 then total_base
      else greatest(total_base + coalesce(refunded_base, 0), cast(0 as decimal(18, 4))) end       as worth
  from orders
  where (status = 'paid' or (total_base < 0 and status <> 'cancelled'))
    and customer_id not like '%:guest:order-%'
),

-- Months are numbered through, so that "twelve months later" is plus twelve.
sales as (
  select
    customer_id,
    ordered_at,
    day,
    cast(date_part('year', day) * 12 + date_part('month', day) - 1 as bigint) as month_number,
    is_order,
    worth
  from paid
),

-- One row a customer and month with an order in it, or money that went back.
activity as (
  select customer_id, month_number, count(*) filter (where is_order) as orders, sum(worth) as worth
  from sales
  group by customer_id, month_number
),

-- How long until the same customer's next active month; null where there has been none since. Seen from the latest
-- month back, the next month is the one just before.
spells as (
  select
    month_number,
    lag(month_number) over (partition by customer_id order by month_number desc) - month_number as gap
  from activity
  where orders > 0
),

-- From here on there are a few thousand rows at most, however large the shop.
spell_counts as (
  select month_number, gap, count(*) as customers
  from spells
  group by month_number, gap
),

-- A customer whose latest active month is `a` is a buyer of the last twelve months in a, a+1, … a+11 (until the
-- next order starts a new spell), and churned in those of them that no order follows within the silence.
later as (
  select unnest(range(0, $lookback_months)) as months
),

churn as (
  select
    s.month_number + l.months                                                                           as month_number,
    sum(s.customers)                                                                                    as buyers,
    sum(case when s.gap is null or s.gap > l.months + $silence_months then s.customers else 0 end)        as churned
  from spell_counts s
  cross join later l
  where s.gap is null or s.gap > l.months
  group by s.month_number + l.months
),

-- The first day so far is their first: orders are taken in their order.
visits as (
  select
    customer_id,
    day,
    min(day) over (partition by customer_id order by ordered_at rows between unbounded preceding and current row) as first_day
  from sales
  where is_order
),

-- New customers by the month of their first order, and how many of them came back in time (on a later day).
newcomers as (
  select
    customer_id,
    first_day,
    max(case when days_between(first_day, day) between 1 and $repeat_days then 1 else 0 end) as came_back
  from visits
  group by customer_id, first_day
),

cohorts as (
  select
    cast(date_part('year', first_day) * 12 + date_part('month', first_day) - 1 as bigint)  as month_number,
    count(*)                                                                               as new_customers,
    sum(came_back)                                                                         as came_back
  from newcomers
  group by 1
),

traffic as (
  select
    month_number,
    count(*) filter (where orders > 0)     as active_customers,
    sum(orders)                            as orders,
    sum(worth)                             as revenue
  from activity
  group by month_number
),

-- Every month of the table, from the first order at the earliest, quiet ones too.
today as (
  select local_date($as_of, $brand_timezone) as day
),

oldest as (
  select min(day) as day
  from sales
  where is_order
),

edges as (
  select
    cast(date_part('year', o.day) * 12 + date_part('month', o.day) - 1 as bigint)     as oldest_month,
    cast(date_part('year', d.day) * 12 + date_part('month', d.day) - 1 as bigint)     as this_month,
    d.day                                                                             as today
  from oldest o
  cross join today d
  where o.day is not null
),

shown as (
  select greatest(oldest_month, this_month - $months + 1) as first_month, this_month, today
  from edges
),

months as (
  select
    unnest(range(first_month, this_month + 1)) as month_number,
    first_month,
    this_month,
    today
  from shown
),

calendar as (
  select
    month_number,
    first_month,
    this_month,
    today,
    make_date(cast(month_number / 12 as integer), cast(month_number % 12 + 1 as integer), 1)              as month,
    make_date(cast((month_number + 1) / 12 as integer), cast((month_number + 1) % 12 + 1 as integer), 1)  as next_month
  from months
),

joined as (
  select
    c.month,
    c.month_number < c.this_month                                                  as is_over,
    -- whoever came on the last day of the month has had all the days in full
    days_between(c.next_month, c.today) >= $repeat_days                            as repeat_known,
    c.month_number - c.first_month >= $lookback_months - 1
      and c.this_month - c.month_number > $silence_months                          as churn_known,
    coalesce(t.active_customers, 0)                                                as active_customers,
    coalesce(n.new_customers, 0)                                                   as new_customers,
    coalesce(t.orders, 0)                                                          as orders,
    coalesce(t.revenue, 0)                                                         as revenue,
    coalesce(n.came_back, 0)                                                       as came_back,
    coalesce(x.buyers, 0)                                                          as buyers,
    coalesce(x.churned, 0)                                                         as churned
  from calendar c
  left join traffic t on t.month_number = c.month_number
  left join cohorts n on n.month_number = c.month_number
  left join churn x on x.month_number = c.month_number
)

select
  month,                                                                                          -- its first day
  is_over                                                              as complete,               -- false for the month we are in
  active_customers,                                                                               -- people with an order in the month
  new_customers,                                                                                  -- of them, for the first time ever
  active_customers - new_customers                                     as returning_customers,
  cast(orders as bigint)                                               as orders,
  cast(revenue as decimal(18, 4))                                      as revenue_base,
  cast(revenue / nullif(active_customers, 0) as decimal(18, 2))        as value_per_customer,     -- revenue over active customers
  case when repeat_known then new_customers end                        as repeat_n,               -- the people the repeat rate rests on
  case when repeat_known then cast(came_back as bigint) end            as repeat_customers,
  case when repeat_known then
    cast(cast(came_back as decimal(18, 4)) / nullif(new_customers, 0) as decimal(6, 4)) end       as repeat_rate,
  case when churn_known then cast(buyers as bigint) end                as churn_n,                -- the people the churn rate rests on
  case when churn_known then cast(churned as bigint) end               as churned_customers,
  case when churn_known then
    cast(cast(churned as decimal(18, 4)) / nullif(buyers, 0) as decimal(6, 4)) end                as churn_rate
from joined
order by month
