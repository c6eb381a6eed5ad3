/* ---
key = "customer_id"
--- */
-- Decides what somebody bought last.
select distinct on (customer_id) customer_id, product_id, last_at
from customer_products
where kept > 0
