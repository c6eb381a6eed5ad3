-- file: sql/models/savings.sql
/* ---
key = "customer_id"
--- */
-- What each customer saved with coupons.
select customer_id, sum(discount_bse) as saved
from orders
group by customer_id
-- file: sql/segments/savers.sql
/* ---
key = "customer_id"
--- */
-- Decides who is told how much they saved.
select customer_id, saved
from savings
where saved > $least
