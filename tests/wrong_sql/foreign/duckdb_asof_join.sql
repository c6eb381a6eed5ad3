/* ---
key = "customer_id"
--- */
-- Decides what a complaint was about: the last order before it.
select t.customer_id, t.ticket_id, o.order_id
from tickets t
asof join orders o on o.customer_id = t.customer_id and o.ordered_at <= t.opened_at
where t.kind = 'complaint'
