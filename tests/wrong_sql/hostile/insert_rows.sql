/* ---
key = "customer_id"
--- */
-- Adds a consent that nobody gave.
insert into consents (customer_id, channel, purpose, status)
select customer_id, 'email', 'marketing', 'granted'
from customers
