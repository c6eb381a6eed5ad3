/* ---
key = "customer_id"
--- */
-- Decides who ordered within the last week.
select customerId, email, lastOrderAt
from customer_features
where quiet_days < 7
