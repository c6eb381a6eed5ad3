-- sql/models/product_pairs.sql, in DuckDB's words.
with

shelf as (
  select customer_id, product_id
  from customer_products
  where kept > 0 and recency <= $history
),

buyers as (
  select product_id, count(*) as buyers
  from shelf
  group by product_id
),

everybody as (
  select count(distinct customer_id) as people
  from shelf
),

met as (
  select a.product_id as one, b.product_id as other, count(*) as "both"
  from shelf a
  join shelf b on b.customer_id = a.customer_id and b.product_id > a.product_id
  group by a.product_id, b.product_id
  having count(*) >= $min_support
),

mirrored as (
  select one as product_id, other as partner_id, "both" from met
  union all
  select other as product_id, one as partner_id, "both" from met
),

measured as (
  select
    m.product_id,
    m.partner_id,
    m."both",
    x.buyers                                            as buyers,
    y.buyers                                            as partner_buyers,
    quotient(m."both" * e.people, x.buyers * y.buyers)  as lift,
    (m."both" * e.people - x.buyers * y.buyers) * 100 // e.people
      * 100 // (x.buyers + $steady)                                          as strength
  from mirrored m
  join buyers x on x.product_id = m.product_id
  join buyers y on y.product_id = m.partner_id
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
  "both",
  buyers,
  partner_buyers,
  cast(lift as decimal(10, 2)) as lift,
  strength,
  cast(place as bigint) as place
from ranked
where place <= $partners
