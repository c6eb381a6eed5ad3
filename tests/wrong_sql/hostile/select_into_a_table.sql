/* ---
key = "customer_id"
--- */
-- Keeps a copy of everybody.
select customer_id, email
into everybody
from customers
