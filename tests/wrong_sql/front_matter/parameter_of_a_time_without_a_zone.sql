/* ---
key = "customer_id"
params = { since = 2026-03-01T00:00:00 }
--- */
-- Decides who ordered since the spring.
select distinct customer_id
from orders
where ordered_at >= $since
