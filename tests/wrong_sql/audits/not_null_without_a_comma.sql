/* ---
key = "customer_id"
audits = ["not_null(email first_name)"]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, email, first_name
from customer_features
where quiet_days > 90
