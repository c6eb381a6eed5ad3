/* ---
key = "customer_id"
--- */
-- Decides whom we tell about points that are about to lapse.
select customer_id, points, points_expire_at
from loyalty_ledger
where points > 0
