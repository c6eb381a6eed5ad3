/* ---
key = "customer_id"
params = { window = "3 days", slow = "48 hours" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(ticket_id)", "rows(0, 100000)"]
--- */
-- Decides to whom we apologise: people whose complaint was resolved in the last three days. The apology comes
-- when something was done, not before; whoever still has another complaint open is waited for.
with

resolved as (
  select
    customer_id,
    first_value(named_struct(
        'ticket_id', ticket_id, 'subject', subject, 'opened_at', opened_at, 'first_reply_at', first_reply_at,
        'resolved_at', resolved_at, 'summary_fix', summary_fix, 'agent_name', agent_name,
        'order_id', order_id, 'product_id', product_id)
      order by resolved_at desc, ticket_id) as ticket       -- of several, the one resolved last
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
  r.ticket['ticket_id'] as ticket_id,                       -- the occasion: this complaint
  r.ticket['subject'] as ticket_subject,
  r.ticket['opened_at'] as opened_at,
  r.ticket['resolved_at'] as resolved_at,
  r.ticket['summary_fix'] as summary_fix,                   -- what was done, as the help desk recorded it
  r.ticket['agent_name'] as agent_name,
  coalesce(p.name, f.last_product) as last_product,         -- the product it was about, else the last one they bought
  r.ticket['order_id'] as order_id,
  case
    when r.ticket['first_reply_at'] > r.ticket['opened_at'] + cast($slow as interval)
    then (cast(r.ticket['first_reply_at'] as bigint) - cast(r.ticket['opened_at'] as bigint)) / 3600000000  -- microseconds an hour
  end as waited_hours                                       -- only where we made them wait; null where the answer was quick
from resolved r
join customer_features f on f.customer_id = r.customer_id
left join products p on p.product_id = r.ticket['product_id']
where not f.open_complaint
