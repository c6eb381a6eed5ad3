-- sql/segments/complaint_recovered.sql, in DuckDB's words.
with

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

returned as (
  select
    s.ticket_id,
    s.customer_id,
    s.resolved_at,
    min(o.ordered_at)                                    as ordered_at,
    first(o.order_id order by o.ordered_at, o.order_id)  as order_id
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
    max(ordered_at)                                        as ordered_at,
    first(order_id order by resolved_at desc, ticket_id)   as order_id,
    first(ticket_id order by resolved_at desc, ticket_id)  as ticket_id
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
  c.ticket_id,
  t.subject                                                    as ticket_subject,
  t.opened_at,
  t.resolved_at,
  t.summary_fix,
  t.agent_name,
  p.name                                                       as complaint_product,
  c.order_id,
  c.ordered_at,
  case when f.last_order_id = c.order_id then f.last_product end as product,
  f.orders,
  f.tier
from chosen c
join tickets t on t.ticket_id = c.ticket_id
join customer_features f on f.customer_id = c.customer_id
left join products p on p.product_id = t.product_id
where coalesce(f.last_complaint_at <= t.resolved_at, true)
  and coalesce(f.last_unhappy_at < t.resolved_at, true)
