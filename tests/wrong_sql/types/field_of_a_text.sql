/* ---
key = "customer_id"
--- */
-- Decides who writes from a company's address.
select customer_id, email['domain'] as domain
from customer_features
