/* ---
key = "customer_id"
--- */
-- Decides who is asked about an open parcel.
select customer_id, o.order_id, o.ordered_at
from customer_features f
join orders o on o.customer_id = f.customer_id
where o.delivered_at is null and o.status = 'paid'
