/* ---
key = "customer_id"
--- */
-- Decides who is quiet and gold.
select customer_id, email
from customer_features
where quiet_days > 30
  tier = 'gold'
