/* ---
key = "customer_id"
--- */
-- Decides whom we call.
select [customer_id], [phone]
from [customer_features]
where [tier] = 'platinum'
