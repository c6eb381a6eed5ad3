-- file: sql/models/half_year.sql
/* ---
key = "customer_id"
--- */
-- What each customer spent in half a year; called `spent` until the spring.
select customer_id, sum(total_base) as spent_base
from orders
where status = 'paid' and ordered_at > $as_of - interval '6 months'
group by customer_id
-- file: sql/segments/half_year_guests.sql
/* ---
key = "customer_id"
--- */
-- Decides who is invited to the roastery.
select customer_id, spent
from half_year
where spent > 500
