/* ---
key = "customer_id"
--- */
-- Whoever has a number. A line without one belongs to nobody we could write to.
select
  split_part(customer_id, '.', 1) as customer_id,          -- 17850.0 is customer 17850
  first_value(country order by invoice_date desc, line desc) as country,
  'en-GB' as locale,
  'Europe/London' as timezone,
  min(invoice_date) as created_at,
  max(invoice_date) as updated_at
from retail__lines
where customer_id is not null and invoice_date <= $as_of
group by split_part(customer_id, '.', 1)
