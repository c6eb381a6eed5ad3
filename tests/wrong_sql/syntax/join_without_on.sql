/* ---
key = "customer_id"
--- */
-- Decides who has an open ticket.
select distinct f.customer_id, f.email
from customer_features f
join tickets t
where t.status = 'open'
