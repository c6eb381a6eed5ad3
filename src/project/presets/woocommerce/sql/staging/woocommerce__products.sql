/* ---
key = "product_id"
audits = ["not_null(name)"]
--- */
-- What the shop sells, and what it sold: a deleted product keeps its name, for those who bought it, and is out of stock.
-- WooCommerce names no currency here; prices are in the one most orders are in.
-- It does not tell what one buys only once: set `durable` to `categories[1]['name'] in ('Furniture', …)` if you know.
with

usual as (
  select currency
  from woocommerce__orders
  group by currency
  order by count(*) desc, currency
  limit 1
)

select
  'woocommerce:' || id                                            as product_id,
  name,
  nullif(btrim(categories[1]['name']), '')                        as category,
  url,
  images[1]['src']                                                as image_url,
  cast(nullif(btrim(price), '') as decimal(18,4))                 as price,
  coalesce((select currency from usual), $brand_currency)         as currency,
  coalesce(status = 'publish' and stock_status in ('instock', 'onbackorder'), false) and _deleted_at is null as in_stock,
  false                                                           as durable
from woocommerce__products
