/* ---
key = "customer_id"
--- */
-- Decides who bought what, for the letter.
select b.customer_id, group_concat(p.name separator ', ') as products
from customer_products b
join products p on p.product_id = b.product_id
group by b.customer_id
