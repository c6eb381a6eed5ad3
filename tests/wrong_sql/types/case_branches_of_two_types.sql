/* ---
key = "customer_id"
--- */
-- Decides which letter somebody gets.
select
  customer_id,
  case when quiet_days > 180 then 'third' when quiet_days > 90 then last_order_at else 'first' end as step
from customer_features
