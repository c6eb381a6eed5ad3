/* ---
key = "customer_id"
--- */
-- Decides who bought one of two things.
select customer_id, product_id
from customer_products
where product_id = unnest(make_array('p1', 'p2'))
