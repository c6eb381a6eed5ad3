/* ---
key = "product_id"
audits = ["not_null(name)"]
--- */
-- What the shop sells today. `durable` marks things one buys once (a kettle), against things that run out
-- (coffee): nobody is recommended a second kettle.
select
  'generic_http:' || id        as product_id,
  name,
  nullif(btrim(category), '')  as category,
  url,
  image_url,
  price,                                       -- in its own currency; the program makes it price_base
  currency,
  coalesce(in_stock, false)    as in_stock,    -- what may be sold out is not recommended
  coalesce(durable, false)     as durable
from generic_http__products
