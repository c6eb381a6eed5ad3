/* ---
key = "customer_id"
--- */
-- Decides who joined in which month.
select customer_id, strftime(created_at, '%Y-%m') as cohort
from customers
