/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Conversations with the help desk. An unresolved complaint silences marketing, a resolved one earns an apology.
select
  id                                                                          as ticket_id,
  coalesce(
    requester_id,
    'email:' || left(encode(sha256(lower_email(requester_email)), 'hex'), 24)
  )                                                                           as customer_id,     -- as declared in helpdesk__customers.sql
  opened_at,
  first_reply_at,                                                                                 -- null until somebody answered
  case when status in ('solved', 'closed') then coalesce(resolved_at, updated_at) end as resolved_at,  -- a reopened ticket is unresolved again
  status,                                                                                         -- open, pending, solved, closed
  kind,                                                                                           -- complaint, question, return, praise
  satisfaction,                                                                                   -- good, bad, or null: not asked or not answered
  nullif(btrim(subject), '')                                                  as subject,
  order_id,                                                                                       -- the order it is about, where known
  product_id,                                                                                     -- the product it is about, where known
  nullif(btrim(summary_fix), '')                                              as summary_fix,     -- what was done, in the agent's words
  nullif(btrim(agent_name), '')                                               as agent_name,
  updated_at
from helpdesk__tickets
where opened_at <= $as_of
