/* ---
key = "customer_id"
--- */
-- Decides who bought what, for the letter.
select b.customer_id, string_agg(p.name, ', ') as products
from customer_products b
join products p on p.product_id = b.product_id
group by b.customer_id
