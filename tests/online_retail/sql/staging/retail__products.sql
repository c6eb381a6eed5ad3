/* ---
key = "product_id"
--- */
-- An article by its latest description.
select
  stock_code as product_id,
  first_value(btrim(description) order by invoice_date desc, line desc) as name,
  true as in_stock,
  false as durable
from retail__lines
where description is not null and unit_price > 0 and quantity > 0 and invoice_date <= $as_of
group by stock_code
