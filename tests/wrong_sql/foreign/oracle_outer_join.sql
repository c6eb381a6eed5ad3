/* ---
key = "customer_id"
--- */
-- Decides who never wrote to us.
select f.customer_id
from customer_features f, tickets t
where f.customer_id = t.customer_id(+) and t.ticket_id is null
