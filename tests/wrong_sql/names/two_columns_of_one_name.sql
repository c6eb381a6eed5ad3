/* ---
key = "customer_id"
--- */
-- Decides who still waits for the parcel of their last order.
select f.customer_id, f.email, o.customer_id, o.ordered_at
from customer_features f
join orders o on o.order_id = f.last_order_id
where o.delivered_at is null
