/* ---
key = ["order_id", "line"]
--- */
-- Each order of data-in/orders.csv names one product, so it has one line.
-- Your file names no product? Delete this file and csv__products.sql: letters then speak of "your last order".
select
  order_id,
  1                                                             as line,
  lower(btrim(product))                                         as product_id,    -- the name is the only id there is
  1                                                             as quantity,
  0                                                             as returned,
  total                                                         as unit_price,    -- in the order's currency; the program makes it unit_price_base
  coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) as currency,
  ordered_at
from csv__orders
where ordered_at <= $as_of and btrim(product) <> ''
