/* ---
key = "customer_id"
--- */
-- Decides who gets the letter with the blue envelope: every second order.
select customer_id, orders
from customer_features
where mod(orders, 2) = 0
