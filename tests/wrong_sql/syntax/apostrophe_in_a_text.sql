/* ---
key = "customer_id"
--- */
-- Decides who bought the farmer's choice.
select distinct b.customer_id
from customer_products b
join products p on p.product_id = b.product_id
where p.name = 'Farmer's choice' and b.kept > 0
