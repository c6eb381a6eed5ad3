/* ---
key = "customer_id"
--- */
-- Looks at the tables there are.
select table_name as customer_id
from information_schema.tables
