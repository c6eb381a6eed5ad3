-- file: sql/models/yearly_takings.sql
/* ---
key = "customer_id"
--- */
-- What each customer spent in the last year.
select customer_id, sum(total_base) as spent
from paid_orders
group by customer_id
-- file: sql/models/yearly_best.sql
/* ---
key = "customer_id"
--- */
-- Who spent much.
select customer_id, spent
from yearly_takings
where spent > 500
-- file: sql/segments/best_of_the_year.sql
/* ---
key = "customer_id"
--- */
-- Decides who is invited to the roastery.
select customer_id, spent
from yearly_best
