/* ---
key = "customer_id"
--- */
-- Decides who bought what, for the letter.
select customer_id, array_agg(product_id) as products
from customer_products
where kept > 0
group by customer_id
