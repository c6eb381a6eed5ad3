/* ---
key = "product_id"
audits = ["not_null(name)"]
--- */
-- What the shop sells, and what it sold: a deleted product keeps its name, for those who bought it, and is out of stock.
-- REST gives no address of a product: write your shop's own, 'https://your-shop.example/products/' || p.handle, as `url`.
-- It names no currency either; prices are in the shop's, which its orders name.
-- Shopify does not tell what one buys only once: set `durable` to `category in ('Furniture', …)` if you know.
with

variants as (
  select id, unnest(variants) as variant
  from shopify_rest__products
),

offers as (
  select
    id,
    min(variant['price']) as price,                          -- of the cheapest variant
    -- Nobody counts how many there are, or it may be sold before it is there.
    bool_or(variant['inventory_management'] is null or variant['inventory_policy'] = 'continue' or variant['inventory_quantity'] > 0) as in_stock
  from variants
  group by id
)

select
  'shopify_rest:' || p.id        as product_id,
  p.name,
  nullif(btrim(p.category), '')  as category,
  cast(null as varchar)          as url,
  p.image_url,
  o.price,
  coalesce((select max(currency) from shopify_rest__orders), $brand_currency) as currency,
  coalesce(lower(p.status) = 'active' and o.in_stock, false) and p._deleted_at is null as in_stock,
  false                          as durable
from shopify_rest__products p
left join offers o on o.id = p.id
