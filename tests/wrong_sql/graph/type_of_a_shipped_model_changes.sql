-- file: sql/models/next_product.sql
/* ---
key = "customer_id"
--- */
-- One thing each person may want next: whatever sells best.
select
  f.customer_id,
  p.product_id  as next_product_id,
  p.name        as next_product
from customer_features f
cross join (
  select product_id, name
  from products
  where in_stock
  order by price_base desc, product_id
  limit 1
) p
