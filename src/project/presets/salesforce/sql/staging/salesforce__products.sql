/* ---
key = "product_id"
audits = ["not_null(name)"]
--- */
-- What is sold today. Salesforce keeps a price for each price book; the one taken here is what the product was last sold for.
-- It does not tell what one buys only once: set `durable` to `lower(p.family) in ('furniture', …)` if you know.
with

sold as (
  select
    i.product_id,
    first_value(i.unit_price order by o.ordered_on desc, o.created_at desc, i.id) as price
  from salesforce__order_items i
  join salesforce__orders o on o.id = i.order_id
  where i.quantity > 0 and o.ordered_on <= cast($as_of as date)
  group by i.product_id
)

select
  'salesforce:' || p.id               as product_id,
  p.name,
  nullif(lower(btrim(p.family)), '')  as category,
  p.url,
  s.price,
  $brand_currency                     as currency,
  coalesce(p.is_active, false)        as in_stock,   -- Salesforce knows no stock: what is active is taken to be there
  false                               as durable
from salesforce__products p
left join sold s on s.product_id = p.id
where not p.is_deleted and p._deleted_at is null
