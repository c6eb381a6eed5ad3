/* ---
key = "customer_id"
params = { sources = 3 }
audits = ["not_null(next_product_id)"]
--- */
-- One thing each person may really want next, and why we think so.
--
-- Start from the last few products they kept and were content with; look at what people with the same
-- things chose; leave out what is not in stock, what they sent back, what they complained about, durable
-- things they already own, and the same thing in another size ("Espresso, 1 kg", "Espresso, 250 g").
-- Something they never had goes before something they know.
-- People without a good suggestion are not in here: no suggestion is better than a poor one.
with

-- What somebody was unhappy with, by product, or by an order as a whole where no product was named.
unhappy as (
  select customer_id, product_id
  from tickets
  where kind in ('complaint', 'return') and product_id is not null

  union

  select t.customer_id, i.product_id
  from tickets t
  join order_items i on i.order_id = t.order_id
  where t.kind in ('complaint', 'return') and t.product_id is null and i.product_id is not null
),

liked as (
  select b.customer_id, b.product_id, b.recency
  from customer_products b
  where b.kept > 0 and b.returned = 0 and b.recency <= $sources
    and not exists (select 1 from unhappy u where u.customer_id = b.customer_id and u.product_id = b.product_id)
),

candidates as (
  select
    l.customer_id,
    l.product_id                     as because_id,
    l.recency,
    n.partner_id                     as product_id,
    n.strength,
    own.customer_id is not null      as known
  from liked l
  join product_pairs n on n.product_id = l.product_id
  join products p on p.product_id = n.partner_id
  join products b on b.product_id = l.product_id
  left join customer_products own on own.customer_id = l.customer_id and own.product_id = n.partner_id
  where p.in_stock
    and not exists (select 1 from unhappy u where u.customer_id = l.customer_id and u.product_id = n.partner_id)
    and coalesce(own.returned, 0) = 0
    and not (p.durable and coalesce(own.kept, 0) > 0)
    and coalesce(own.recency, 2) > 1                                   -- never the very thing they bought last
    and split_part(p.name, ',', 1) <> split_part(b.name, ',', 1)       -- a shop that names sizes otherwise: adapt this line
),

chosen as (
  select
    customer_id,
    first_value(product_id order by known, strength desc, recency, product_id, because_id)  as product_id,
    first_value(because_id order by known, strength desc, recency, product_id, because_id)  as because_id
  from candidates
  group by customer_id
)

select
  c.customer_id,
  p.product_id                                             as next_product_id,
  p.name                                                   as next_product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as next_product_url,   -- a letter links to nothing else
  p.category                                               as next_product_category,
  p.price_base                                             as next_product_price,     -- in the brand's currency
  b.product_id                                             as because_product_id,
  b.name                                                   as because_product,
  'others who bought ' || b.name || ', as you did, often choose it'    as next_product_reason
from chosen c
join products p on p.product_id = c.product_id
join products b on b.product_id = c.because_id
