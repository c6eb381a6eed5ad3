/* ---
key = "customer_id"
--- */
-- Decides who is written to, each night anew.
select customer_id, uuid() as occasion
from customer_features
