/* ---
key = "customer_id"
params = { countries = ["DE", "AT", "CH"] }
--- */
-- Decides whom we write to in German.
select customer_id, email
from customer_features
where country in ($countries)
