/* ---
key = "customer_id"
--- */
-- Decides who is written to by which engine.
select customer_id, version() as engine
from customer_features
