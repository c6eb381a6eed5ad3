/* ---
key = "customer_id"
--- */
-- Decides who has been quiet for a quarter.
select customer_id, email
from {{ ref('customer_features') }}
where quiet_days > {{ var('quiet_days', 90) }}
