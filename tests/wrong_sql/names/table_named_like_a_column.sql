/* ---
key = "customer_id"
--- */
-- Decides who is told how many points they have.
select customer_id, points as balance
from points
where points > 100
