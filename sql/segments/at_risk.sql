/* ---
key = "customer_id"
params = { min_orders = 3, min_order_days = 3, rhythm_percent = 150, min_quiet_days = 21, lapsed_percent = 300, lapsed_days = 60 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "not_null(usual_days)", "rows(0, 500000)", "change(60%, 20)"]
--- */
-- Decides whom we ask how they are getting on: regulars (orders on three days or more) who are clearly later
-- than they usually are, but not yet gone.
--
-- A rhythm needs at least two gaps, hence three days: with fewer we would be guessing, and several orders on
-- one day leave no gap between them.
-- It ends where `lapsed` begins: `lapsed_percent` and `lapsed_days` repeat that segment's thresholds, so that
-- no regular is in both and none falls between.
select
  customer_id,
  email,
  first_name,
  last_name,
  honorific,
  locale,
  timezone,
  country,
  last_order_id,                            -- the occasion: this silence, since this order
  last_order_at,
  quiet_days,
  rhythm_days,                              -- median gap between their order days
  usual_days,                               -- the same, rounded, for the letter
  orders,
  favourite_category,
  last_product,
  last_product_url,
  coalesce(favourite_category, last_product_category) as tip_category,  -- what the useful tip should be about
  tier
from customer_features
where orders >= $min_orders
  and order_days >= $min_order_days
  and quiet_days > $min_quiet_days
  and quiet_days * 100 > rhythm_days * $rhythm_percent
  and (quiet_days <= $lapsed_days or quiet_days * 100 <= rhythm_days * $lapsed_percent)
