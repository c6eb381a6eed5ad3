/* ---
key = "customer_id"
--- */
-- Decides who ordered in which month first.
select customer_id, date_trunc(first_order_at, 'month') as cohort
from customer_features
