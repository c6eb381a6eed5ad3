/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Conversations with customers. An unresolved complaint silences marketing, a resolved one earns an apology: turn your system's words into
-- `complaint`, and into `solved` or `closed`.
select
  'generic_http:' || id                                                               as ticket_id,
  customer_id,
  opened_at,
  first_reply_at,                                                                     -- null until somebody answered
  case when status in ('solved', 'closed') then coalesce(resolved_at, updated_at) end as resolved_at,   -- a reopened ticket is unresolved again
  status,                                                                             -- open, pending, solved, closed
  kind,                                                                               -- complaint, question, return, praise
  satisfaction,                                                                       -- good, bad, or null: not asked or not answered
  nullif(btrim(subject), '')                                                          as subject,
  'generic_http:' || order_id                                                         as order_id,      -- the order it is about, where known
  'generic_http:' || product_id                                                       as product_id,    -- the product it is about, where known
  nullif(btrim(summary_fix), '')                                                      as summary_fix,
  nullif(btrim(agent_name), '')                                                       as agent_name,
  updated_at
from generic_http__tickets
where opened_at <= $as_of
