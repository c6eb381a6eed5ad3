/* ---
key = "customer_id"
--- */
-- Decides who spends more than they usually do.
select customer_id, max(sum(total_base)) as best
from orders
where status = 'paid'
group by customer_id
