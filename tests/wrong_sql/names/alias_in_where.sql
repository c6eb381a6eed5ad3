/* ---
key = "customer_id"
--- */
-- Decides who gets the second letter: quiet for more than twice their rhythm.
select
  customer_id,
  quiet_days / rhythm_days as rhythms
from customer_features
where orders >= 3 and rhythms > 2
