/* ---
key = "customer_id"
--- */
-- Decides who is greeted by name.
select customer_id, isnull(first_name, 'friend') as first_name
from customer_features
