/* ---
key = "customer_id"
--- */
-- Decides who may be written to again.
select customer_id
from customers
where customer_id in (delete from suppressions returning customer_id)
