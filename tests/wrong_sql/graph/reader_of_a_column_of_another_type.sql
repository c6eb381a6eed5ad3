-- file: sql/models/last_visits.sql
/* ---
key = "customer_id"
--- */
-- When somebody was here last; an instant until the spring, a text for the letters since.
select customer_id, to_char(max(ordered_at), '%d.%m.%Y') as last_visit
from orders
where status = 'paid'
group by customer_id
-- file: sql/segments/recent_visitors.sql
/* ---
key = "customer_id"
--- */
-- Decides who was here lately.
select customer_id, last_visit
from last_visits
where last_visit + interval '30 days' > $as_of
