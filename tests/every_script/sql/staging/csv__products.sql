/* ---
key = "product_id"
--- */
-- A product a person, for the link.
select
  customer_id   as product_id,
  customer_id   as name,
  link          as url
from csv__customers
