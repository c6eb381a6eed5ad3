/* ---
key = "customer_id"
--- */
-- Decides who joined after the fair.
select customer_id, created_at
from customers
where created_at > str_to_date('01.03.2026', '%d.%m.%Y')
