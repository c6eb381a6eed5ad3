/* ---
key = "customer_id, product_id"
--- */
-- Decides who is told about which product.
select customer_id, product_id
from customer_products
where kept > 2
