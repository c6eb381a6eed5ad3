/* ---
key = "customer_id"
--- */
-- Decides who has no phone number on file.
select c.customer_id, customers.email
from customers c
where c.phone is null and c.deleted_at is null
