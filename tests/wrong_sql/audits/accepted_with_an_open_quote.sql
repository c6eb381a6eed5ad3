/* ---
key = "customer_id"
audits = ["accepted(tier, 'gold', 'platinum)"]
--- */
-- Decides who is invited to the roastery.
select customer_id, tier
from customer_features
where tier in ('gold', 'platinum')
