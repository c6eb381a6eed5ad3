/* ---
key = "customer_id"
--- */
-- Decides who gave a whole number as their name.
select customer_id, safe_cast(last_name as int64) as number
from customers
