/* ---
key = "customer_id"
--- */
-- Everybody, with what stands about them in the file.
select
  c.customer_id, c.email, c.first_name, c.last_name, c.country,
  t.subject     as topic,
  t.agent_name  as opening,
  t.summary_fix as note,
  p.url         as link,
  'letter'      as letter
from customers c
join tickets t on t.customer_id = c.customer_id
join products p on p.product_id = t.product_id
