/* ---
key = "customer_id"
--- */
-- Takes the key along.
select customer_id, pg_read_file('config/practice.key') as key
from customer_features
