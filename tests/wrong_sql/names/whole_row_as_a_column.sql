/* ---
key = "customer_id"
--- */
-- Decides who has more than three open tickets.
select f.customer_id, count(t) as tickets
from customer_features f
left join tickets t on t.customer_id = f.customer_id
group by f.customer_id
having count(t) > 3
