/* ---
key = "product_id"
audits = ["not_null(name)"]
--- */
-- What the shop sells, and what it sold: a deleted product keeps its name, for those who bought it, and is out of stock.
-- Shopify does not tell what one buys only once: set `durable` to `category in ('Furniture', …)` if you know.
select
  'shopify:' || product_id       as product_id,
  name,
  nullif(btrim(category), '')    as category,
  url,
  image_url,
  price,                                                    -- of the cheapest variant, in the shop's currency
  currency,
  coalesce(upper(status) = 'ACTIVE' and (not tracked or stock > 0), false) and _deleted_at is null as in_stock,
  false                          as durable
from shopify__products
