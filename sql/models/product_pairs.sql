/* ---
key = ["product_id", "partner_id"]
params = { history = 12, min_support = 8, steady = 20, partners = 10 }
audits = ["rows(0, 1000000)"]
--- */
-- Which products are chosen by the same people, more often than chance would have it.
--
-- For a product X and a partner Y, with N people in all:
--   lift     = share of X's buyers who also bought Y / share of everybody who bought Y
--   strength = how many more of 10,000 buyers of X choose Y than chance explains, pulled towards zero
--              where X has few buyers (as if `steady` more of them had behaved like everybody else)
-- A pair needs `min_support` people and a lift above one; each product keeps its strongest partners.
-- Only the last `history` products of a person count: a reseller with 3,000 products would otherwise
-- contribute more pairs than a whole town, and tastes of long ago would vote like those of today.
with

shelf as (
  select customer_id, product_id
  from customer_products
  where kept > 0 and recency <= $history
),

-- Products have numbers, since pairs of numbers are counted faster than pairs of names.
buyers as (
  select product_id, count(*) as buyers, row_number() over (order by product_id) as number
  from shelf
  group by product_id
),

numbered as (
  select s.customer_id, b.number
  from shelf s
  join buyers b on b.product_id = s.product_id
),

everybody as (
  select count(distinct customer_id) as people
  from shelf
),

-- Each unordered pair once; the mirror image is added when there are few rows left to mirror.
met as (
  select a.number as one, b.number as other, count(*) as both
  from numbered a
  join numbered b on b.customer_id = a.customer_id and b.number > a.number
  group by a.number, b.number
  having count(*) >= $min_support
),

mirrored as (
  select unnest([one, other]) as number, unnest([other, one]) as partner, both
  from met
),

measured as (
  select
    x.product_id,
    y.product_id                                                            as partner_id,
    m.both,
    x.buyers                                                                as buyers,
    y.buyers                                                                as partner_buyers,
    cast(m.both * e.people as decimal(24, 4)) / (x.buyers * y.buyers)       as lift,
    (m.both * e.people - x.buyers * y.buyers) * 100 / e.people              -- expected by chance taken off, in hundredths of a person
      * 100 / (x.buyers + $steady)                                          as strength
  from mirrored m
  join buyers x on x.number = m.number
  join buyers y on y.number = m.partner
  cross join everybody e
),

ranked as (
  select
    *,
    row_number() over (
      partition by product_id
      order by strength desc, lift desc, partner_id
    ) as place
  from measured
  where lift > 1
)

select
  product_id,
  partner_id,
  both,                                   -- people who have both
  buyers,                                 -- people who have the product
  partner_buyers,                         -- people who have the partner
  cast(lift as decimal(10, 2)) as lift,
  strength,                               -- extra choices per 10,000 buyers
  cast(place as bigint) as place          -- 1 = the strongest partner
from ranked
where place <= $partners
