/* ---
key = "customer_id"
--- */
-- Decides who did something last, and when.
select customer_id, last_order_at as at
from customer_features

union all

select customer_id, score
from feedback
