/* ---
key = "customer_id"
params = { early_days = 5, late_days = 14, min_days = 14, max_days = 180, peace_days = 7, min_people = 20, lasting = "plants" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "not_null(lasts_days)", "accepted(basis, 'own', 'others')", "rows(0, 500000)", "change(60%, 20)"]
--- */
-- Decides whom we remind of something that is running out: people whose coffee is nearly finished, judging by
-- how long it lasted them before. Who bought it once is judged by how long it lasts others, where `min_people`
-- of them have bought it again; without so many we would be guessing.
--
-- What was bought last lasts the longer the more of it there was: three bags, three times as long as one.
-- Reminded is from five days before it runs out, so that a parcel can still be in time, to two weeks after.
-- Not of durable things, nor of those that live on although people buy more of them (the categories named in
-- `lasting`, a comma and a space between); not of what is sold out, or of what they sent back or complained
-- about last; and not where they have bought it in another size since. Who bought it once and something else of
-- its kind since has moved on. For a week after any order there is peace: they were here, and took what they
-- wanted.
--
-- One product a person: one whose rhythm we know from them before one we know from others, then the most
-- overdue, because that is the shelf that is empty. The most expensive would be our need and not theirs, and
-- it would be the same one every time; an overdue one makes way when it is bought or its two weeks are over.
with

consumables as (
  select
    product_id,
    category,
    split_part(name, ',', 1)   as thing,      -- the same in every size; a shop that names sizes otherwise: adapt this line
    in_stock
  from products
  where not coalesce(durable, false)
    and not array_has(string_to_array($lasting, ', '), coalesce(category, ''))
),

shelf as (
  select b.customer_id, b.product_id, b.times, b.kept, b.returned, b.first_at, b.last_at, c.category, c.thing, c.in_stock
  from customer_products b
  join consumables c on c.product_id = b.product_id
  where b.kept > 0
),

-- How long one piece lasts people, in hundredths of a day: the median over those who bought it again.
-- A mean for each of them, since that much can be told without reading everybody's orders.
usual as (
  select
    product_id,
    count(*)                                                                                                     as people,
    quantile_cuts(days_between(first_at, last_at, $brand_timezone) * 100 * times / ((times - 1) * kept), 2)[1]   as per_piece
  from shelf
  where times >= 2 and days_between(first_at, last_at, $brand_timezone) > 0
  group by product_id
  having count(*) >= $min_people
),

-- Who can be due at all, so that few orders are read below: of what was bought again, whatever is neither fresh
-- nor forgotten; of what was bought once, what is due by the others.
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
      or days_between(s.last_at, $as_of, $brand_timezone) - u.per_piece * s.kept / 100 between -$early_days and $late_days)
),

-- Pieces kept by day; those that came back as a row of their own are below zero. Nothing before the day of the first
-- purchase matters, and where nothing came back, nothing after the last: that spares us most orders. Two days
-- leave room for the whole of that first day.
days as (
  select
    c.customer_id, c.product_id, c.times, c.returned, c.last_at, c.people, c.per_piece,
    local_date(o.ordered_at, $brand_timezone)     as day,
    sum(i.quantity - coalesce(i.returned, 0))     as pieces
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
    count(*) filter (where pieces > 0)                               as days,
    rhythm(day) filter (where pieces > 0)                            as rhythm_days,
    max(day) filter (where pieces > 0)                               as last_day,
    max(day) filter (where pieces <= 0)                              as back_on,
    sum(pieces) filter (where pieces > 0)                            as pieces,
    first_value(pieces order by day desc) filter (where pieces > 0)  as last_pieces
  from days
  group by customer_id, product_id, times, returned, last_at, people, per_piece
),

-- Their own rhythm is that of as many pieces as they usually take; here it is stretched to those of the last time.
measured as (
  select
    customer_id, product_id, last_at, last_day, last_pieces,
    case when days >= 2 and times >= 2 then 'own' else 'others' end      as basis,
    case when days >= 2 and times >= 2 then days else people end         as rests_on,
    case
      when days >= 2 and times >= 2
      then cast(rhythm_days * 100 as bigint) * last_pieces * (days - 1) / nullif(pieces - last_pieces, 0) / 100
      else per_piece * last_pieces / 100
    end                                                                  as lasts_days
  from histories
  where last_day = local_date(last_at, $brand_timezone)                -- else the last of it went back
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
  -- bought since in another size or, where one purchase is all we know, of another make
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
        and coalesce(t.product_id, d.product_id) = d.product_id)     -- or nobody noted what it was about
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
  concat(r.product_id, ':', cast(r.last_day as varchar))   as occasion,       -- this product, bought that day
  r.product_id,
  r.name                                                   as product,
  case when r.url like 'https://_%' and r.url not like '% %' then r.url end as product_url,   -- a letter links to nothing else
  r.category                                               as product_category,
  r.price_base                                             as product_price,
  $brand_currency                                          as currency,       -- of product_price
  r.last_at                                                as bought_at,      -- when they bought it last
  r.last_pieces                                            as pieces,         -- how much of it
  r.lasts_days,                                                               -- how long that much lasts
  r.overdue_days,                                                             -- below zero: still to come
  r.basis,                                                                    -- own: their rhythm; others: that of others
  r.rests_on,                                                                 -- days on which they bought it, or people who bought it again
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.tier
from ranked r
join customer_features f on f.customer_id = r.customer_id
where r.place = 1
