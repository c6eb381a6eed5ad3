/* ---
key = "customer_id"
--- */
-- Decides what somebody bought last.
select customer_id, arg_max(product_id, last_at) as product_id
from customer_products
group by customer_id
