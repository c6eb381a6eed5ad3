/* ---
key = "customer_id"
--- */
-- Decides who lives outside of where we deliver.
select customer_id, country
from customer_features
where country not in ('DE', 'AT', null)
