/* ---
key = "customer_id"
--- */
-- Decides whose birthday is near.
select cu.customer_id, cu.first_name, c.birthday
from customers cu
where cu.deleted_at is null and date_part('month', cu.birthday) = 12
