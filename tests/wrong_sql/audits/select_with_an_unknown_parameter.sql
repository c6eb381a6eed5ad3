/* ---
key = "customer_id"
params = { quiet_days = 90 }
audits = ["select customer_id from select_with_an_unknown_parameter where quiet_days < $min_quiet_days"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > $quiet_days
