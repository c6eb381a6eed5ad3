/* ---
key = "customer_id"
--- */
-- Decides who is greeted by name.
select customer_id, if(first_name is null, 'Good morning', first_name) as greeting
from customer_features
