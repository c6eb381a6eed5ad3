/* ---
key = "customer_id"
--- */
-- Decides who is quiet and either gold or platinum.
select customer_id, email
from customer_features
where quiet_days > 30 and (tier = 'gold' or tier = 'platinum'
