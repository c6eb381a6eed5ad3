/* ---
key = "customer_id"
--- */
-- Decides who spends much on few orders.
select
  customer_id,
  total_base / orders
  round(rhythm_days) as rhythm
from customer_features
where orders > 0
