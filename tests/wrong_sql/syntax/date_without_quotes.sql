/* ---
key = "customer_id"
--- */
-- Decides who ordered since the spring.
select distinct customer_id
from orders
where ordered_at >= date 2026-03-01
