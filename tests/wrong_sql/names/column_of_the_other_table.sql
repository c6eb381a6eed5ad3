/* ---
key = "customer_id"
--- */
-- Decides who bought in bulk last time.
select o.customer_id, sum(o.quantity) as pieces
from orders o
join order_items i on i.order_id = o.order_id
where o.status = 'paid'
group by o.customer_id
having sum(i.quantity) > 20
