/* ---
key = "customer_id"
audits = [
  "rows(0, 50000)",
  "select customer_id from select_that_does_not_parse where quiet_days < 90 and",
]
--- */
-- Decides who has been quiet for a quarter.
select customer_id, quiet_days
from customer_features
where quiet_days > 90
