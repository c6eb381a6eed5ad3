/* ---
key = "customer_id"
--- */
-- Decides which letter somebody gets.
select
  customer_id,
  case when quiet_days > 180 then 3 when quiet_days > 90 then 2 else 1 as step
from customer_features
where quiet_days > 45
