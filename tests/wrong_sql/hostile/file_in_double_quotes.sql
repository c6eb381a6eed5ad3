/* ---
key = "customer_id"
--- */
-- Decides who is in the lake.
select customer_id, email
from "data/lake/customers/*.parquet"
