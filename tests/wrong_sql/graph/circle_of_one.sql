-- file: sql/models/loyalty.sql
/* ---
key = "customer_id"
--- */
-- Points each customer has: those of yesterday and those of today.
select
  f.customer_id,
  coalesce(y.points, 0) + f.orders as points
from customer_features f
left join loyalty y on y.customer_id = f.customer_id
