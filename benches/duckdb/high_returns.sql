-- sql/segments/high_returns.sql, in DuckDB's words.
with

complained as (
  select customer_id, product_id
  from tickets
  where kind = 'complaint' and product_id is not null

  union

  select t.customer_id, i.product_id
  from tickets t
  join order_items i on i.order_id = t.order_id
  where t.kind = 'complaint' and i.product_id is not null
),

chosen as (
  select b.customer_id, b.product_id, b.kept, b.returned, b.last_at
  from customer_products b
  left join complained c on c.customer_id = b.customer_id and c.product_id = b.product_id
  where c.customer_id is null
),

habits as (
  select
    customer_id,
    sum(returned)                                        as returned,
    sum(kept) + sum(returned)                            as pieces,
    count(distinct last_at) filter (where returned > 0)  as times
  from chosen
  group by customer_id
  having sum(returned) >= $min_returned
    and sum(returned) * 100 >= (sum(kept) + sum(returned)) * $min_percent
),

sent_back as (
  select
    c.customer_id,
    first(c.product_id order by c.returned > c.kept desc, c.last_at desc, c.product_id)  as product_id,
    first(c.last_at order by c.returned > c.kept desc, c.last_at desc, c.product_id)     as last_at
  from habits h
  join chosen c on c.customer_id = h.customer_id
  where h.times >= $min_times and c.returned > 0
  group by c.customer_id
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
  s.product_id  as returned_product_id,
  p.name        as returned_product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as returned_product_url,
  p.category  as advice_category,
  s.last_at   as returned_bought_at,
  h.returned,
  h.pieces,
  cast(h.returned * 100 // h.pieces as bigint)    as returned_percent,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.total_base,
  $brand_currency                                as currency,
  f.tier
from sent_back s
join habits h on h.customer_id = s.customer_id
join customer_features f on f.customer_id = s.customer_id
left join products p on p.product_id = s.product_id
where not f.open_complaint
  and f.quiet_days > $min_quiet_days
  and days_between(s.last_at, $as_of, $brand_timezone) <= $max_days
