/* ---
key = "customer_id"
--- */
-- Decides who ordered on every day of the fair.
select o.customer_id, count(distinct d.day) as days
from orders o
join unnest(generate_date_array('2026-03-01', '2026-03-05')) as d(day) on d.day = cast(o.ordered_at as date)
group by o.customer_id
