/* ---
key = "customer_id"
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "not_null(step)", "accepted(value_tier, 'high', 'middle', 'low')", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides what it may cost to win somebody back: the people of `lapsed`, split by what they have been worth. For the
-- few who brought most a call or a gift pays for itself; for the many who brought little a letter has to do.
--
-- The lapsed are compared with the lapsed: `high` is the best fifth of them, `middle` the next two, `low` the
-- rest; equal worth is the same tier. All columns of `lapsed` are here, so that a campaign changes over by the
-- name of its segment alone. Whoever has an open complaint hears of that first.
with

fifths as (
  select quantile_cuts(f.total_base, 5) as cuts
  from lapsed l
  join customer_features f on f.customer_id = l.customer_id
),

split as (
  select
    f.customer_id,
    f.phone,
    f.total_base,
    f.total_base / f.orders             as per_order,
    bucket(f.total_base, x.cuts)        as fifth
  from lapsed l
  join customer_features f on f.customer_id = l.customer_id
  cross join fifths x
  where not f.open_complaint
)

select
  l.customer_id,
  l.email,
  l.first_name,
  l.last_name,
  l.honorific,
  l.locale,
  l.timezone,
  l.country,
  s.phone,
  case
    when s.fifth = 5  then 'high'
    when s.fifth >= 3 then 'middle'
    else 'low'
  end                                       as value_tier,
  s.total_base,                                                 -- what they have been worth
  cast(s.per_order as decimal(18, 2))       as worth_per_order, -- what one more order brings
  l.last_order_id,                                              -- the occasion: this silence, since this order
  l.last_order_at,
  l.quiet_days,
  l.orders,
  l.favourite_category,
  l.last_product,
  l.last_product_url,
  l.next_product,                                               -- null where nothing would be a good suggestion
  l.next_product_url,
  l.next_product_reason,
  l.next_product_price,
  l.tier,
  l.step,                                                       -- 1, 2, 3: the letter `win-back` would write now
  l.currency                                                    -- of worth and price
from lapsed l
join split s on s.customer_id = l.customer_id
