/* ---
key = "customer_id"
params = { min_days = 4, history = "2 years", steady_percent = 50, rhythm_percent = 150, min_quiet_days = 21, gone_percent = 300, gone_days = 60, max_quiet_days = 365, peace_days = 7 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "not_null(product_line)", "not_null(usual_days)", "rows(0, 500000)", "change(60%, 20)"]
--- */
-- Decides whom we ask about a product line they are about to give up: people who bought from one category like
-- subscribers, on four days or more and at a steady beat, and are now clearly late with it. They may buy other
-- things all the while; their customer rhythm shows nothing, the line does.
--
-- Steady means that two gaps of three lie within half of the median gap and half as much again. Only the last
-- two years count: a beat of long ago is none. Late means half as long again as usual, and three weeks at
-- least; it ends where the line is gone (three times the rhythm and more than 60 days), which is where
-- `category_lapsed` begins, and where the customer is: whoever is lapsed as a whole hears of that. `gone_percent`
-- and `gone_days` repeat the thresholds of both segments.
-- Durable things make no line, and what the shop no longer sells is not spoken of. For a week after any order
-- there is peace: one that is still unpaid may hold just what they are late with.
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
  where f.order_days >= $min_days
    and f.quiet_days > $peace_days
    and (f.quiet_days <= $gone_days or f.quiet_days * 100 <= f.rhythm_days * $gone_percent)
    and not f.open_complaint
    and days_between(s.last_at, $as_of, $brand_timezone) between $min_quiet_days + 1 and $max_quiet_days
),

things as (
  select s.customer_id, s.category, b.product_id
  from suspects s
  join customer_products b on b.customer_id = s.customer_id
  join products p on p.product_id = b.product_id and p.category = s.category
  where b.kept > 0 and not coalesce(p.durable, false)
),

-- One row a day with something from the line, and the thing that cost most of it.
days as (
  select
    t.customer_id,
    t.category,
    local_date(o.ordered_at, $brand_timezone)                                      as day,
    first_value(o.order_id order by o.ordered_at desc, o.order_id desc)            as order_id,
    first_value(t.product_id order by i.unit_price_base * i.quantity desc nulls last, t.product_id) as product_id
  from customer_features f
  join orders o on o.customer_id = f.customer_id
  join order_items i on i.order_id = o.order_id
  join things t on t.customer_id = o.customer_id and t.product_id = i.product_id
  where f.order_days >= $min_days and f.quiet_days > $peace_days and not f.open_complaint     -- as above: fewer to look at
    and o.status = 'paid' and coalesce(o.total_base, 0) >= 0 and i.quantity > coalesce(i.returned, 0)
    and o.ordered_at <= $as_of
    and o.ordered_at > $as_of - cast($history as interval)
  group by t.customer_id, t.category, local_date(o.ordered_at, $brand_timezone)
),

gaps as (
  select *, days_between(lag(day) over (partition by customer_id, category order by day), day) as gap
  from days
),

lines as (
  select
    customer_id,
    category,
    count(*)                                                       as days,
    rhythm(day)                                                    as rhythm_days,
    array_agg(gap order by day) filter (where gap is not null)     as gaps,
    max(day)                                                       as last_day,
    first_value(order_id order by day desc)                        as order_id,
    first_value(product_id order by day desc)                      as product_id
  from gaps
  group by customer_id, category
  having count(*) >= $min_days
),

quiet as (
  select *, days_between(last_day, local_date($as_of, $brand_timezone)) as quiet_days
  from lines
),

late as (
  select customer_id, category, days, rhythm_days, last_day, order_id, product_id, quiet_days, unnest(gaps) as gap
  from quiet
  where quiet_days > $min_quiet_days
    and quiet_days * 100 > rhythm_days * $rhythm_percent
    and (quiet_days <= $gone_days or quiet_days * 100 <= rhythm_days * $gone_percent)
),

steady as (
  select customer_id, category, days, rhythm_days, last_day, order_id, product_id, quiet_days
  from late
  group by customer_id, category, days, rhythm_days, last_day, order_id, product_id, quiet_days
  having count(*) filter (where abs(gap - rhythm_days) * 100 <= rhythm_days * $steady_percent) * 3 >= count(*) * 2
),

-- Of several, the line they came for most often; of equals the one they left last.
ranked as (
  select *, row_number() over (partition by customer_id order by days desc, last_day desc, category) as place
  from steady
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
  concat(r.category, ':', r.order_id)                        as occasion,          -- this silence in this line, since this order
  r.category                                                 as product_line,
  r.days                                                     as line_days,         -- days with something from it, of the last two years
  cast(cast(r.rhythm_days as decimal(10, 0)) as bigint)      as usual_days,        -- median gap between those, rounded
  r.quiet_days                                               as line_quiet_days,
  r.order_id                                                 as line_order_id,     -- the last order with something from it
  p.name                                                     as line_product,      -- what that was
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end            as line_product_url,   -- a letter links to nothing else
  case when n.next_product_category = r.category then n.next_product end               as next_product,       -- null where nothing from it would be a good suggestion
  case when n.next_product_category = r.category then n.next_product_url end           as next_product_url,
  case when n.next_product_category = r.category then n.next_product_reason end        as next_product_reason,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,                                                                        -- since any order
  f.orders,
  f.tier
from ranked r
join customer_features f on f.customer_id = r.customer_id
left join products p on p.product_id = r.product_id
left join next_product n on n.customer_id = r.customer_id
where r.place = 1
