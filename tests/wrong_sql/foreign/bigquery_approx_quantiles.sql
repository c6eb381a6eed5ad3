/* ---
key = "customer_id"
--- */
-- Decides who spends more than nine of ten.
select customer_id, total_base
from customer_features
where total_base > (select approx_quantiles(total_base, 10)[offset(9)] from customer_features)
