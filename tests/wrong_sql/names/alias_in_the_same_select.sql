/* ---
key = "customer_id"
--- */
-- Decides who is worth a call, and by how much.
select
  customer_id,
  total_base / orders as average_order,
  average_order * 12 as value_per_year
from customer_features
where orders > 0
