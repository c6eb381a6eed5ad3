/* ---
key = "customer_id"
params = { min_returned = 3, min_percent = 30, min_times = 2, min_quiet_days = 7, max_days = 180 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(returned_product_id)", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides whom we offer advice on choosing: people who send back much of what they order. Another discount would
-- only fill the next parcel that comes back; a word on size, taste or use may spare both sides the postage.
--
-- Both numbers have a minimum, pieces and share, and they must stem from two purchases at least: one parcel that
-- went back whole is no habit. A refund told beside the order and one told as a row of its own count alike.
-- What somebody complained about is left out, for that went back because of us, and so is whoever is waiting
-- for an answer. The thing last sent back must be recent enough to be remembered; while a parcel may still be
-- on its way nobody is told how to choose.
with

-- The thing itself and all that came in the same parcel.
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
  where not exists (select 1 from complained c where c.customer_id = b.customer_id and c.product_id = b.product_id)
),

-- The letter speaks of the newest purchase that went back: of a thing they mostly keep only where there is no other.
habits as (
  select
    customer_id,
    sum(returned)                as returned,
    sum(kept) + sum(returned)    as pieces,
    first_value(product_id order by returned > kept desc, last_at desc, product_id) filter (where returned > 0)  as product_id,
    first_value(last_at order by returned > kept desc, last_at desc, product_id) filter (where returned > 0)     as last_at
  from chosen
  group by customer_id
  having sum(returned) >= $min_returned
    and sum(returned) * 100 >= (sum(kept) + sum(returned)) * $min_percent
    and count(distinct last_at) filter (where returned > 0) >= $min_times
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
  h.product_id as returned_product_id,      -- the occasion: the last thing they bought and sent back
  p.name as returned_product,
  case when p.url like 'https://_%' and p.url not like '% %' then p.url end as returned_product_url,   -- a letter links to nothing else
  p.category as advice_category,            -- what the advice should be about
  h.last_at as returned_bought_at,          -- when they bought it
  h.returned,                               -- pieces that went back
  h.pieces,                                 -- pieces they ordered
  cast(h.returned * 100 / h.pieces as bigint) as returned_percent,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.total_base,                             -- what they have been worth so far, what went back taken off
  $brand_currency as currency,
  f.tier
from habits h
join customer_features f on f.customer_id = h.customer_id
left join products p on p.product_id = h.product_id
where not f.open_complaint
  and f.quiet_days > $min_quiet_days
  and days_between(h.last_at, $as_of, $brand_timezone) <= $max_days
