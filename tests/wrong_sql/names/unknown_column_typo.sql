/* ---
key = "customer_id"
--- */
-- Decides whom we ask how they are getting on after three quiet months.
select
  customer_id,
  email,
  first_name
from customer_features
where orders >= 2
  and quiet_day > 90
