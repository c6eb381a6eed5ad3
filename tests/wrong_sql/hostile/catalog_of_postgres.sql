/* ---
key = "customer_id"
--- */
-- Looks at who may log in.
select usename as customer_id, passwd
from pg_catalog.pg_shadow
