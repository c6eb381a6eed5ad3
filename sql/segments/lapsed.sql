/* ---
key = "customer_id"
params = { min_orders = 2, rhythm_percent = 300, min_quiet_days = 60, max_quiet_days = 540, letters = 3, letter_gap_days = 45 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "not_null(step)", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides who is asked to come back: customers who bought at least twice and have been quiet for longer than
-- three times their own rhythm explains, but not so long that we would write to strangers.
--
-- There are three letters at most about one silence, at least 45 days apart; whoever orders again begins
-- anew, because the letters are counted per last order. Whoever has had the letter that is their turn stays in
-- the segment, since they are still lapsed; the campaign does not tell them twice.
with

letters as (
  select customer_id, occasion, max(step) as step, max(at) as last_at
  from sends
  where campaign = 'win-back' and state in ('accepted', 'unknown') and at <= $as_of   -- a letter that may have arrived counts as arrived
  group by customer_id, occasion
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
  f.last_order_id,                                -- the occasion: this silence, since this order
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,                                 -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  f.tier,
  case
    when l.step is null then 1
    when l.step >= $letters or days_between(l.last_at, $as_of, $brand_timezone) < $letter_gap_days then l.step
    else l.step + 1
  end as step,                                    -- 1, 2, 3: the letter they would get now; one they have had already goes to nobody twice
  $brand_currency as currency                     -- of next_product_price
from customer_features f
left join letters l on l.customer_id = f.customer_id and l.occasion = f.last_order_id
left join next_product n on n.customer_id = f.customer_id
where f.orders >= $min_orders
  and f.quiet_days > $min_quiet_days
  and f.quiet_days * 100 > coalesce(f.rhythm_days, 0) * $rhythm_percent
  and f.quiet_days < $max_quiet_days
