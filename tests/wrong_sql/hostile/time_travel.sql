/* ---
key = "customer_id"
--- */
-- Decides who was there last week.
select customer_id, email
from customers for system_time as of timestamp '2026-11-19 00:00:00'
