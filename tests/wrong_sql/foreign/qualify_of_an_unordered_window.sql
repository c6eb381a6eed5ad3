/* ---
key = "customer_id"
--- */
-- Decides what somebody bought last.
select customer_id, product_id
from customer_products
qualify row_number() over (partition by customer_id) = 1
