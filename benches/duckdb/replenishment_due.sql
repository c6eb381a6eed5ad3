-- sql/segments/replenishment_due.sql, in DuckDB's words.
with

consumables as (
  select
    product_id,
    category,
    split_part(name, ',', 1)   as thing,
    in_stock
  from products
  where not coalesce(durable, false)
    and not list_contains(string_split($lasting, ', '), coalesce(category, ''))
),

shelf as (
  select b.customer_id, b.product_id, b.times, b.kept, b.returned, b.first_at, b.last_at, c.category, c.thing, c.in_stock
  from customer_products b
  join consumables c on c.product_id = b.product_id
  where b.kept > 0
),

usual as (
  select
    product_id,
    count(*)                                                                                                    as people,
    quantile_disc(days_between(first_at, last_at, $brand_timezone) * 100 * times // ((times - 1) * kept), 0.5)  as per_piece
  from shelf
  where times >= 2 and days_between(first_at, last_at, $brand_timezone) > 0
  group by product_id
  having count(*) >= $min_people
),

candidates as (
  select s.customer_id, s.product_id, s.times, s.returned, s.first_at, s.last_at, u.people, u.per_piece
  from shelf s
  join customer_features f on f.customer_id = s.customer_id
  left join usual u on u.product_id = s.product_id
  where s.in_stock
    and not f.open_complaint
    and f.quiet_days > $peace_days
    and days_between(s.last_at, $as_of, $brand_timezone) between $min_days - $early_days and $max_days + $late_days
    and (s.times >= 2
      or days_between(s.last_at, $as_of, $brand_timezone) - u.per_piece * s.kept // 100 between -$early_days and $late_days)
),

days as (
  select
    c.customer_id, c.product_id, c.times, c.returned, c.last_at, c.people, c.per_piece,
    local_date(o.ordered_at, $brand_timezone)  as day,
    sum(i.quantity - coalesce(i.returned, 0))  as pieces
  from candidates c
  join orders o on o.customer_id = c.customer_id
  join order_items i on i.order_id = o.order_id and i.product_id = c.product_id
  where o.ordered_at <= $as_of
    and o.ordered_at > c.first_at - interval '2 days'
    and (o.ordered_at <= c.last_at or c.returned > 0)
    and ((o.status = 'paid' and coalesce(o.total_base, 0) >= 0 and i.quantity > coalesce(i.returned, 0))
      or (i.quantity < 0 and o.status <> 'cancelled'))
  group by
    c.customer_id, c.product_id, c.times, c.returned, c.last_at, c.people, c.per_piece,
    local_date(o.ordered_at, $brand_timezone)
),

histories as (
  select
    customer_id, product_id, times, returned, last_at, people, per_piece,
    count(*) filter (where pieces > 0)                         as days,
    rhythm(list_sort(list(day) filter (where pieces > 0)))     as rhythm_days,
    max(day) filter (where pieces > 0)                         as last_day,
    max(day) filter (where pieces <= 0)                        as back_on,
    sum(pieces) filter (where pieces > 0)                      as pieces,
    first(pieces order by day desc) filter (where pieces > 0)  as last_pieces
  from days
  group by customer_id, product_id, times, returned, last_at, people, per_piece
),

measured as (
  select
    customer_id, product_id, last_at, last_day, last_pieces,
    case when days >= 2 and times >= 2 then 'own' else 'others' end  as basis,
    case when days >= 2 and times >= 2 then days else people end     as rests_on,
    case
      when days >= 2 and times >= 2
      then cast(rhythm_days * 100 as bigint) * last_pieces * (days - 1) // nullif(pieces - last_pieces, 0) // 100
      else per_piece * last_pieces // 100
    end                                                                  as lasts_days
  from histories
  where last_day = local_date(last_at, $brand_timezone)
    and coalesce(back_on < last_day, true)
    and (times >= 2 or returned = 0)
),

due as (
  select *, days_between(last_day, local_date($as_of, $brand_timezone)) - lasts_days as overdue_days
  from measured
  where lasts_days between $min_days and $max_days
    and days_between(last_day, local_date($as_of, $brand_timezone)) - lasts_days between -$early_days and $late_days
),

ranked as (
  select
    d.*,
    p.name,
    p.url,
    p.category,
    p.price_base,
    row_number() over (
      partition by d.customer_id
      order by d.basis = 'own' desc, d.overdue_days desc, p.price_base desc nulls last, d.product_id
    ) as place
  from due d
  join products p on p.product_id = d.product_id
  where not exists (
      select 1
      from shelf s
      where s.customer_id = d.customer_id
        and s.product_id <> d.product_id
        and s.last_at > d.last_at
        and (s.thing = split_part(p.name, ',', 1) or (d.basis = 'others' and s.category = p.category)))
    and not exists (
      select 1
      from tickets t
      where t.customer_id = d.customer_id
        and t.kind in ('complaint', 'return')
        and t.opened_at >= d.last_at
        and t.opened_at <= $as_of
        and coalesce(t.product_id, d.product_id) = d.product_id)
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
  concat(r.product_id, ':', cast(r.last_day as varchar))   as occasion,
  r.product_id,
  r.name                                                   as product,
  case when r.url like 'https://_%' and r.url not like '% %' then r.url end as product_url,
  r.category       as product_category,
  r.price_base     as product_price,
  $brand_currency  as currency,
  r.last_at        as bought_at,
  r.last_pieces    as pieces,
  r.lasts_days,
  r.overdue_days,
  r.basis,
  r.rests_on,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.tier
from ranked r
join customer_features f on f.customer_id = r.customer_id
where r.place = 1
