-- file: sql/models/points.sql
/* ---
key = "customer_id"
--- */
-- Points each customer has, by their level.
select l.customer_id, l.factor * 10 as points
from levels l
-- file: sql/models/levels.sql
/* ---
key = "customer_id"
--- */
-- The level each customer has, by their points.
select p.customer_id, case when p.points > 100 then 2 else 1 end as factor
from points p
