/* ---
key = "product_id"
--- */
-- Decides which products are in the letter.
select product_id, name
from products
where in_stock
