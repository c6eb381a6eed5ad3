/* ---
key = "customer_id"
--- */
-- Decides who has been with us for a year.
select customer_id, age($as_of, first_order_at) as member_for
from customer_features
where orders > 0
