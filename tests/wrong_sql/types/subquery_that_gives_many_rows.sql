/* ---
key = "customer_id"
--- */
-- Decides what somebody bought last.
select
  f.customer_id,
  (select p.name from customer_products b join products p on p.product_id = b.product_id where b.customer_id = f.customer_id) as product
from customer_features f
