-- sql/segments/at_risk.sql, in DuckDB's words.
select
  customer_id,
  email,
  first_name,
  last_name,
  honorific,
  locale,
  timezone,
  country,
  last_order_id,
  last_order_at,
  quiet_days,
  rhythm_days,
  usual_days,
  orders,
  favourite_category,
  last_product,
  last_product_url,
  coalesce(favourite_category, last_product_category) as tip_category,
  tier
from customer_features
where orders >= $min_orders
  and order_days >= $min_order_days
  and quiet_days > $min_quiet_days
  and quiet_days * 100 > rhythm_days * $rhythm_percent
  and (quiet_days <= $lapsed_days or quiet_days * 100 <= rhythm_days * $lapsed_percent)
