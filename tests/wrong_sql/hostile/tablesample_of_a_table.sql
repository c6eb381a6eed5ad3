/* ---
key = "customer_id"
--- */
-- Decides who is asked: a tenth of everybody.
select customer_id, email
from customer_features tablesample bernoulli (10)
