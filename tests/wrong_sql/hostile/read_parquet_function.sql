/* ---
key = "customer_id"
--- */
-- Decides who is in the lake.
select customer_id, email
from read_parquet('data/lake/customers/*.parquet')
