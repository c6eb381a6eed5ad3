/*
key = "customer_id"
params = { quiet_days = 90 }
*/
-- Decides who has been quiet for a quarter.
select customer_id, email
from customer_features
where quiet_days > $quiet_days
