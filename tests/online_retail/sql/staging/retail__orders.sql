/* ---
key = "order_id"
--- */
-- An invoice with at least one line that was sold. It is refunded when every such line was undone.
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
  min(split_part(s.customer_id, '.', 1)) as customer_id,
  min(s.invoice_date) as ordered_at,
  case when count(u.line) = count(*) then 'refunded' else 'paid' end as status,
  'GBP' as currency,
  sum(s.quantity * s.unit_price) as total,
  sum(case when u.line is null then 0 else -s.quantity * s.unit_price end) as refunded_base
from sold s
left join undone u
  on u.customer_id = s.customer_id and u.stock_code = s.stock_code and u.quantity = -s.quantity and u.nth = s.nth
  and u.invoice_date >= s.invoice_date
group by s.invoice_no
