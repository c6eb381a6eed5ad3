/* ---
key = "customer_id"
--- */
-- Decides who has waited long for a parcel.
select f.customer_id, f.email, f.last_oder_at
from customer_features f
join orders o on o.order_id = f.last_order_id
where o.delivered_at is null
