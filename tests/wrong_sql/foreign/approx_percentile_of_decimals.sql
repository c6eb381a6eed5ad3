/* ---
key = "customer_id"
--- */
-- Decides who spends more than nine of ten.
select customer_id, total_base
from customer_features
where total_base > (
  select approx_percentile_cont(0.9) within group (order by total_base)
  from customer_features
)
