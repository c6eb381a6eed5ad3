-- file: sql/models/spending.sql
/* ---
key = "customer_id"
--- */
-- What each customer spent in the last year.
select customer_id, sum(total_bse) as spent
from orders
where status = 'paid' and ordered_at > $as_of - interval '1 year'
group by customer_id
-- file: sql/segments/big_spenders.sql
/* ---
key = "customer_id"
--- */
-- Decides who is invited to the roastery.
select customer_id, spent
from spending
where spent > 500
