/* ---
key = "product_id"
--- */
-- The products, gathered from the orders: one row a name, with the category and price it was last sold under.
-- What only ever came back (a negative total) was sold before the file begins, and is no product of today.
-- The file does not tell what is in stock: what sold in the last ninety days is taken to be there still.
-- It does not tell either what one buys only once: set `durable` to `category in ('furniture', …)` if you know.
select
  lower(btrim(product))                                                                         as product_id,
  first_value(btrim(product) order by ordered_at desc, order_id)                                as name,
  first_value(lower(btrim(category)) order by ordered_at desc, order_id)
    filter (where btrim(category) <> '')                                                        as category,
  first_value(total order by ordered_at desc, order_id)                                         as price,
  first_value(coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) order by ordered_at desc, order_id) as currency,
  max(ordered_at) + interval '90 days' > $as_of                                                 as in_stock,
  false                                                                                         as durable
from csv__orders
where ordered_at <= $as_of and btrim(product) <> '' and total >= 0
group by lower(btrim(product))
