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
    first_value(ticket_id order by resolved_at desc, ticket_id) as ticket_id   -- of several, the one resolved last
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
  t.ticket_id,                                              -- the occasion: this complaint
  t.subject as ticket_subject,
  t.opened_at,
  t.resolved_at,
  t.summary_fix,                                            -- what was done, as the help desk recorded it
  t.agent_name,
  coalesce(p.name, f.last_product) as last_product,         -- the product it was about, else the last one they bought
  t.order_id,
  case
    when t.first_reply_at > t.opened_at + cast($slow as interval)
    then (cast(t.first_reply_at as bigint) - cast(t.opened_at as bigint)) / 3600000000  -- microseconds an hour
  end as waited_hours                                       -- only where we made them wait; null where the answer was quick
from resolved r
join tickets t on t.ticket_id = r.ticket_id
join customer_features f on f.customer_id = r.customer_id
left join products p on p.product_id = t.product_id
where not f.open_complaint
