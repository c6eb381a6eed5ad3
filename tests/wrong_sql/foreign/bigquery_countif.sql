/* ---
key = "customer_id"
--- */
-- Decides who cancels often.
select customer_id, countif(status = 'cancelled') as cancelled
from orders
group by customer_id
