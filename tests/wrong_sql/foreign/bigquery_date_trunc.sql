/* ---
key = "customer_id"
--- */
-- Decides who joined in which month.
select customer_id, date_trunc(created_at, month) as cohort
from customers
