/* ---
key = "customer_id"
--- */
-- Decides who is invited to the roastery: gold and platinum.
select customer_id, email, first_name, tier
from customer_features
where tier = "gold" or tier = 'platinum'
