/* ---
key = "customer_id"
params = { within = "180 days", window = "7 days" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(ticket_id)", "not_null(order_id)", "rows(0, 100000)"]
--- */
-- Decides whom we thank for a second chance: people who ordered again within half a year after their complaint
-- was settled, for a week after that order. It was theirs to leave, and they did not.
--
-- An order that cost nothing is our replacement and not their choice. Who called our answer bad is not told
-- that all is well, and whoever has another complaint by now is answered before being thanked.
-- Of several complaints the one settled last is spoken of; each is thanked for once.
with

-- Where a ticket was closed at a time nobody wrote down, nobody knows what came after it.
settled as (
  select t.ticket_id, t.customer_id, t.resolved_at
  from tickets t
  join customer_features f on f.customer_id = t.customer_id
  where t.kind = 'complaint'
    and t.resolved_at <= $as_of
    and t.resolved_at + cast($within as interval) + cast($window as interval) > $as_of
    and f.last_order_at > t.resolved_at
    and not f.open_complaint
),

-- The first thing they paid for after it.
returned as (
  select
    s.ticket_id,
    s.customer_id,
    s.resolved_at,
    min(o.ordered_at)                                            as ordered_at,
    first_value(o.order_id order by o.ordered_at, o.order_id)    as order_id
  from settled s
  join orders o on o.customer_id = s.customer_id
  where o.status = 'paid'
    and coalesce(o.total_base, o.total) > 0
    and o.ordered_at > s.resolved_at
    and o.ordered_at <= s.resolved_at + cast($within as interval)
    and o.ordered_at <= $as_of
  group by s.ticket_id, s.customer_id, s.resolved_at
),

chosen as (
  select
    customer_id,
    max(ordered_at)                                                        as ordered_at,
    first_value(order_id order by resolved_at desc, ticket_id)             as order_id,
    first_value(ticket_id order by resolved_at desc, ticket_id)            as ticket_id
  from returned
  where ordered_at + cast($window as interval) > $as_of
  group by customer_id
)

select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  c.ticket_id,                                                                         -- the occasion: this complaint
  t.subject                                                    as ticket_subject,
  t.opened_at,
  t.resolved_at,
  t.summary_fix,                                                                       -- what was done, as the help desk recorded it
  t.agent_name,
  p.name                                                       as complaint_product,   -- what it was about, where known
  c.order_id,                                                                          -- the order that was the second chance
  c.ordered_at,
  case when f.last_order_id = c.order_id then f.last_product end as product,           -- what is in it
  f.orders,
  f.tier
from chosen c
join tickets t on t.ticket_id = c.ticket_id
join customer_features f on f.customer_id = c.customer_id
left join products p on p.product_id = t.product_id
where coalesce(f.last_complaint_at <= t.resolved_at, true)
  and coalesce(f.last_unhappy_at < t.resolved_at, true)     -- of this complaint or of a later ticket
