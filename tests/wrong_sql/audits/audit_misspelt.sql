/* ---
key = "customer_id"
audits = [
  "rows(0, 50000)",
  "not_nul(email)",
]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, email
from customer_features
where quiet_days > 90
