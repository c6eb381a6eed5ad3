/* ---
key = "customer_id"
params = { min_days = 3, rhythm_percent = 300, category_min_days = 60, category_max_days = 365, days_since = 2, peace_days = 7, active_days = 60 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "not_null(usual_days)", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides whom we ask about, or show something new from, what they used to come for: people who still buy, but no
-- longer from a category that they bought by a rhythm of its own. Nobody else notices, since as customers they
-- are not lapsed. They need no reason to come back, so there is none to be paid for.
--
-- A habit is a category bought and kept on three days or more. It has stopped when it is quiet for three times its
-- rhythm and for more than 60 days, while they came for other things on two days since. After a year it is
-- history. Durable things make no habit, and what the shop no longer sells is not spoken of.
-- For a week after an order there is peace; one that is still unpaid may hold just what they are said to miss.
with

sold as (
  select distinct category
  from products
  where in_stock and category is not null
),

-- Who is worth a closer look. That much can be told without the orders, so that few of those are read below.
shelves as (
  select b.customer_id, p.category, max(b.last_at) as last_at
  from customer_products b
  join products p on p.product_id = b.product_id
  join sold s on s.category = p.category
  where b.kept > 0 and not coalesce(p.durable, false)
  group by b.customer_id, p.category
  having sum(b.times) >= $min_days
),

suspects as (
  select s.customer_id, s.category
  from shelves s
  join customer_features f on f.customer_id = s.customer_id
  where f.order_days >= $min_days + $days_since
    and f.quiet_days > $peace_days
    and f.quiet_days <= $active_days
    and f.quiet_days = days_between(f.last_order_at, $as_of, $brand_timezone)   -- nothing unpaid since
    and not f.open_complaint
    and f.last_order_at > s.last_at
    and days_between(s.last_at, $as_of, $brand_timezone) > $category_min_days
    and days_between(s.last_at, $as_of, $brand_timezone) < $category_max_days
),

things as (
  select s.customer_id, s.category, b.product_id
  from suspects s
  join customer_products b on b.customer_id = s.customer_id
  join products p on p.product_id = b.product_id and p.category = s.category
  where b.kept > 0 and not coalesce(p.durable, false)
),

bought as (
  select t.customer_id, t.category, t.product_id, o.order_id, o.ordered_at, local_date(o.ordered_at, $brand_timezone) as day
  from customer_features f
  join orders o on o.customer_id = f.customer_id
  join order_items i on i.order_id = o.order_id
  join things t on t.customer_id = o.customer_id and t.product_id = i.product_id
  where f.order_days >= $min_days + $days_since and f.quiet_days between $peace_days + 1 and $active_days   -- as above: fewer to look at
    and o.status = 'paid' and coalesce(o.total_base, 0) >= 0 and i.quantity > coalesce(i.returned, 0)
),

habits as (
  select
    customer_id,
    category,
    count(distinct day)                                                          as days,
    rhythm(day)                                                                  as rhythm_days,
    max(day)                                                                     as last_day,
    first_value(order_id order by ordered_at desc, order_id desc)                as order_id,
    first_value(product_id order by ordered_at desc, order_id desc, product_id)  as product_id
  from bought
  group by customer_id, category
  having count(distinct day) >= $min_days
),

-- The habits that ended, with what they came for since.
since as (
  select h.*, local_date(o.ordered_at, $brand_timezone) as day
  from habits h
  join orders o on o.customer_id = h.customer_id and local_date(o.ordered_at, $brand_timezone) > h.last_day
  where o.status = 'paid' and coalesce(o.total_base, 0) >= 0
    and days_between(h.last_day, local_date($as_of, $brand_timezone)) * 100 > h.rhythm_days * $rhythm_percent
),

stopped as (
  select customer_id, category, days, rhythm_days, last_day, order_id, product_id, count(distinct day) as days_since
  from since
  group by customer_id, category, days, rhythm_days, last_day, order_id, product_id
  having count(distinct day) >= $days_since
),

-- Of several, the one they came for most often; of equals the one they left last.
ranked as (
  select *, row_number() over (partition by customer_id order by days desc, last_day desc, category) as place
  from stopped
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
  concat(s.category, ':', s.order_id) as occasion,     -- this silence in this category, since this order
  s.category as lapsed_category,
  s.days as category_days,                             -- days on which they bought from it
  cast(cast(s.rhythm_days as decimal(10, 0)) as bigint) as usual_days,                                 -- median gap between those, rounded
  days_between(s.last_day, local_date($as_of, $brand_timezone)) as category_quiet_days,
  s.order_id as category_order_id,                     -- the last order with something from it
  p.name as category_product,                          -- what that was
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as category_product_url,   -- a letter links to nothing else
  s.days_since,                                        -- days on which they came for other things since
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  case when n.next_product_category = s.category then n.next_product end as next_product,              -- null where nothing from it would do
  case when n.next_product_category = s.category then n.next_product_url end as next_product_url,
  case when n.next_product_category = s.category then n.next_product_reason end as next_product_reason,
  f.tier
from ranked s
join customer_features f on f.customer_id = s.customer_id
left join products p on p.product_id = s.product_id
left join next_product n on n.customer_id = s.customer_id
where s.place = 1
