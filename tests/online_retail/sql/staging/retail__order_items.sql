/* ---
key = ["order_id", "line"]
--- */
-- Lines that were sold: a positive quantity at a price, on an ordinary invoice, to a known customer. Gifts and samples at no price are no
-- purchase. A cancellation names no invoice; it is taken to undo the customer's n-th purchase of as many of the same article.
with

sold as (
  select
    *,
    row_number() over (partition by customer_id, stock_code, quantity order by invoice_date, line) as nth
  from retail__lines
  where invoice_no not like 'C%' and invoice_no not like 'A%'
    and customer_id is not null and quantity > 0 and unit_price > 0 and invoice_date <= $as_of
),

undone as (
  select
    *,
    row_number() over (partition by customer_id, stock_code, quantity order by invoice_date, line) as nth
  from retail__lines
  where invoice_no like 'C%' and customer_id is not null and quantity < 0 and invoice_date <= $as_of
)

select
  s.invoice_no as order_id,
  s.line,
  s.stock_code as product_id,
  s.quantity,
  s.unit_price as unit_price_base,
  case when u.line is null then 0 else s.quantity end as returned
from sold s
left join undone u
  on u.customer_id = s.customer_id and u.stock_code = s.stock_code and u.quantity = -s.quantity and u.nth = s.nth
  and u.invoice_date >= s.invoice_date
