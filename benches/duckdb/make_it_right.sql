-- sql/segments/make_it_right.sql, in DuckDB's words.
with

resolved as (
  select
    customer_id,
    first(ticket_id order by resolved_at desc, ticket_id) as ticket_id
  from tickets
  where kind = 'complaint'
    and resolved_at <= $as_of
    and resolved_at + cast($window as interval) > $as_of
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
  t.ticket_id,
  t.subject as ticket_subject,
  t.opened_at,
  t.resolved_at,
  t.summary_fix,
  t.agent_name,
  coalesce(p.name, f.last_product) as last_product,
  t.order_id,
  case
    when t.first_reply_at > t.opened_at + cast($slow as interval)
    then (epoch_us(t.first_reply_at) - epoch_us(t.opened_at)) // 3600000000
  end as waited_hours
from resolved r
join tickets t on t.ticket_id = r.ticket_id
join customer_features f on f.customer_id = r.customer_id
left join products p on p.product_id = t.product_id
where not f.open_complaint
