/* ---
key = "customer_id"
--- */
-- Decides who lives in Germany or Austria.
select customer_id, country
from customer_features
where country = 'DE' or 'AT'
