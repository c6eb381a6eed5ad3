/* ---
key = "customer_id"
--- */
-- Decides who never sent anything back.
select f.customer_id, f.email
from customer_features f
where not exists (
  select 1
  from order_items i
  join orders o on o.order_id = i.order_id
  where o.customer_id = f.customerid and i.returned > 0
)
