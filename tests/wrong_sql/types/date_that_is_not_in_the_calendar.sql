/* ---
key = "customer_id"
--- */
-- Decides who ordered since the end of February.
select distinct customer_id
from orders
where ordered_at >= date '2026-02-30'
