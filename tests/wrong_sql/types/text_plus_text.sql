/* ---
key = "customer_id"
--- */
-- Decides who gets a card, with the name to write on it.
select customer_id, first_name + ' ' + last_name as full_name
from customer_features
where tier = 'platinum'
