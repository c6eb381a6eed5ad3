-- sql/segments/subscribers_at_risk.sql, in DuckDB's words.
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
  where f.order_days >= $min_days
    and f.quiet_days > $peace_days
    and (f.quiet_days <= $gone_days or f.quiet_days * 100 <= f.rhythm_days * $gone_percent)
    and not f.open_complaint
    and days_between(s.last_at, $as_of, $brand_timezone) between $min_quiet_days + 1 and $max_quiet_days
),

things as materialized (
  select s.customer_id, s.category, b.product_id
  from suspects s
  join customer_products b on b.customer_id = s.customer_id
  join products p on p.product_id = b.product_id and p.category = s.category
  where b.kept > 0 and not coalesce(p.durable, false)
),

days as (
  select
    t.customer_id,
    t.category,
    local_date(o.ordered_at, $brand_timezone)                      as day,
    first(o.order_id order by o.ordered_at desc, o.order_id desc)  as order_id,
    first(t.product_id order by i.unit_price_base * i.quantity desc nulls last, t.product_id) as product_id
  from things t
  join orders o on o.customer_id = t.customer_id
  join order_items i on i.order_id = o.order_id and i.product_id = t.product_id
  where o.status = 'paid' and coalesce(o.total_base, 0) >= 0 and i.quantity > coalesce(i.returned, 0)
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
    count(*)                                                    as days,
    rhythm(list_sort(list(day)))                                as rhythm_days,
    array_agg(gap order by day) filter (where gap is not null)  as gaps,
    max(day)                                                    as last_day,
    first(order_id order by day desc)                           as order_id,
    first(product_id order by day desc)                         as product_id
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
  concat(r.category, ':', r.order_id)                                            as occasion,
  r.category                                                                     as product_line,
  r.days                                                                         as line_days,
  cast(cast(r.rhythm_days as decimal(10, 0)) as bigint)                          as usual_days,
  r.quiet_days                                                                   as line_quiet_days,
  r.order_id                                                                     as line_order_id,
  p.name                                                                         as line_product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end      as line_product_url,
  case when n.next_product_category = r.category then n.next_product end         as next_product,
  case when n.next_product_category = r.category then n.next_product_url end     as next_product_url,
  case when n.next_product_category = r.category then n.next_product_reason end  as next_product_reason,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.tier
from ranked r
join customer_features f on f.customer_id = r.customer_id
left join products p on p.product_id = r.product_id
left join next_product n on n.customer_id = r.customer_id
where r.place = 1
