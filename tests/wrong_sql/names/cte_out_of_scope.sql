/* ---
key = "customer_id"
--- */
-- Decides who is told about the new roast: people whose last coffee was not sent back.
select f.customer_id, f.email, c.last_at
from customer_features f
join (
  with coffee as (
    select b.customer_id, max(b.last_at) as last_at
    from customer_products b
    join products p on p.product_id = b.product_id
    where p.category = 'coffee' and b.kept > 0
    group by b.customer_id
  )
  select customer_id, last_at
  from coffee
) c on c.customer_id = f.customer_id
where f.customer_id not in (select customer_id from coffee where last_at < $as_of - interval '1 year')
