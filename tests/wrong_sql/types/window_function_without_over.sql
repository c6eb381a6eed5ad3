/* ---
key = "customer_id"
--- */
-- Decides which order was somebody's second.
select customer_id, row_number() as nth
from orders
