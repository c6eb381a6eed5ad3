-- sql/segments/category_lapsed.sql, in DuckDB's words.
with

sold as (
  select distinct category
  from products
  where in_stock and category is not null
),

shelves as (
  select b.customer_id, p.category, max(b.last_at) as last_at
  from customer_products b
  join products p on p.product_id = b.product_id
  join sold s on s.category = p.category
  where b.kept > 0 and not coalesce(p.durable, false)
  group by b.customer_id, p.category
  having sum(b.times) >= $min_days
),

suspects as materialized (
  select s.customer_id, s.category
  from shelves s
  join customer_features f on f.customer_id = s.customer_id
  where f.order_days >= $min_days + $days_since
    and f.quiet_days > $peace_days
    and f.quiet_days <= $active_days
    and f.quiet_days = days_between(f.last_order_at, $as_of, $brand_timezone)
    and not f.open_complaint
    and f.last_order_at > s.last_at
    and days_between(s.last_at, $as_of, $brand_timezone) > $category_min_days
    and days_between(s.last_at, $as_of, $brand_timezone) < $category_max_days
),

things as materialized (
  select s.customer_id, s.category, b.product_id
  from suspects s
  join customer_products b on b.customer_id = s.customer_id
  join products p on p.product_id = b.product_id and p.category = s.category
  where b.kept > 0 and not coalesce(p.durable, false)
),

bought as (
  select t.customer_id, t.category, t.product_id, o.order_id, o.ordered_at, local_date(o.ordered_at, $brand_timezone) as day
  from things t
  join orders o on o.customer_id = t.customer_id
  join order_items i on i.order_id = o.order_id and i.product_id = t.product_id
  where o.status = 'paid' and coalesce(o.total_base, 0) >= 0 and i.quantity > coalesce(i.returned, 0)
),

habits as (
  select
    customer_id,
    category,
    count(distinct day)                                                    as days,
    rhythm(list_sort(list_distinct(list(day))))                            as rhythm_days,
    max(day)                                                               as last_day,
    first(order_id order by ordered_at desc, order_id desc)                as order_id,
    first(product_id order by ordered_at desc, order_id desc, product_id)  as product_id
  from bought
  group by customer_id, category
  having count(distinct day) >= $min_days
),

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
  concat(s.category, ':', s.order_id)                                        as occasion,
  s.category                                                                 as lapsed_category,
  s.days                                                                     as category_days,
  cast(cast(s.rhythm_days as decimal(10, 0)) as bigint)                      as usual_days,
  days_between(s.last_day, local_date($as_of, $brand_timezone))              as category_quiet_days,
  s.order_id                                                                 as category_order_id,
  p.name                                                                     as category_product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end  as category_product_url,
  s.days_since,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  case when n.next_product_category = s.category then n.next_product end         as next_product,
  case when n.next_product_category = s.category then n.next_product_url end     as next_product_url,
  case when n.next_product_category = s.category then n.next_product_reason end  as next_product_reason,
  f.tier
from ranked s
join customer_features f on f.customer_id = s.customer_id
left join products p on p.product_id = s.product_id
left join next_product n on n.customer_id = s.customer_id
where s.place = 1
