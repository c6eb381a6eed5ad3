/* ---
key = ["order_id", "line"]
--- */
-- Each order of data-in/orders.csv names one product, so it has one line; where the total is negative, it came back.
-- Your file names no product? Delete this file and csv__products.sql: letters then speak of "your last order".
select
  order_id,
  1                                                             as line,
  lower(btrim(product))                                         as product_id,    -- the name is the only id there is
  case when total < 0 then -1 else 1 end                        as quantity,
  0                                                             as returned,
  abs(total)                                                    as unit_price,    -- in the order's currency; the program makes it unit_price_base
  coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) as currency,
  ordered_at
from csv__orders
where ordered_at <= $as_of and btrim(product) <> ''
