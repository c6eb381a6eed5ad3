/* ---
key = "customer_id"
--- */
-- Decides who was there last week.
select customer_id
from orders partition (p202611)
