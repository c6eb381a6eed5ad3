/* ---
key = "customer_id"
--- */
-- Decides who ordered within the last month.
select distinct customer_id
from orders
where ordered_at > dateadd(day, -30, $as_of)
