/* ---
key = "customer_id"
--- */
-- Decides who spent how much.
select customer_id, cast(total_base as money) as spent
from customer_features
