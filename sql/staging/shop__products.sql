/* ---
key = "product_id"
audits = ["unique(product_id)", "not_null(product_id)", "not_null(name)"]
--- */
-- What the shop sells today. `durable` marks things one buys once (a kettle), against things that run out
-- (coffee): nobody is recommended a second kettle.
with

-- Today's rate per currency: the newest on or before `as_of`.
rates as (
  select currency, first_value(rate order by date desc) as rate
  from shop__fx_rates
  where date <= cast($as_of as date)
  group by currency
)

select
  p.id                                                                 as product_id,
  p.name,
  nullif(btrim(p.category), '')                                        as category,
  p.url,
  p.image_url,
  cast(p.price * case when p.currency = $brand_currency then cast(1 as decimal(18, 8)) else r.rate end
       as decimal(18, 4))                                              as price_base,
  coalesce(p.in_stock, false)                                          as in_stock,   -- unknown stock is not recommended
  coalesce(p.durable, false)                                           as durable
from shop__products p
left join rates r on r.currency = p.currency
