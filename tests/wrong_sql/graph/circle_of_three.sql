-- file: sql/models/baskets.sql
/* ---
key = "customer_id"
--- */
-- What somebody usually has in the basket.
select f.customer_id, f.items, t.taste
from customer_features f
join tastes t on t.customer_id = f.customer_id
-- file: sql/models/tastes.sql
/* ---
key = "customer_id"
--- */
-- What somebody likes best.
select n.customer_id, n.nearest as taste
from neighbours n
-- file: sql/models/neighbours.sql
/* ---
key = "customer_id"
--- */
-- Who buys like somebody else.
select b.customer_id, b.items as nearest
from baskets b
