-- file: sql/models/orders.sql
/* ---
key = "order_id"
--- */
-- Orders without the cancelled ones.
select *
from orders
where status <> 'cancelled'
