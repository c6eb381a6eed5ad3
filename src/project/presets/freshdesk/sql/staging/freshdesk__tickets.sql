/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Conversations in Freshdesk. An unresolved complaint silences marketing, a resolved one earns an apology.
-- Freshdesk does not say what a complaint is. Here it is a problem or an incident, what is tagged `complaint`, and what was rated badly;
-- change the words to those of your agents.
-- Which order a ticket is about stands in a field of your own, if at all: add it to the columns in freshdesk.toml (`custom_fields.cf_…`),
-- and here as order_id.
with

-- Deleted tickets and spam, unless they were restored since.
hidden as (
  select id, max(updated_at) as hidden_at
  from (select id, updated_at from freshdesk__deleted_tickets union all select id, updated_at from freshdesk__spam_tickets)
  group by id
),

-- Of several answers about one ticket the last counts.
rated as (
  select ticket_id, first_value(score order by updated_at desc, id desc) as score
  from freshdesk__satisfaction_ratings
  where updated_at <= $as_of
  group by ticket_id
)

select
  'freshdesk:' || t.id                                                              as ticket_id,
  t.requester_id                                                                    as customer_id,
  t.created_at                                                                      as opened_at,
  t.first_responded_at                                                              as first_reply_at,  -- null until somebody answered
  case when t.status in (4, 5) then coalesce(t.resolved_at, t.closed_at, t.updated_at) end as resolved_at,  -- a reopened ticket is unresolved again
  case t.status
    when 2 then 'open'
    when 3 then 'pending'
    when 4 then 'solved'
    when 5 then 'closed'
    when 6 then 'pending'                                                           -- waiting on the customer
    when 7 then 'pending'                                                           -- waiting on a third party
    else 'status ' || t.status                                                      -- one of your own; add its word
  end                                                                               as status,
  case
    when lower(t.type) in ('problem', 'incident') or array_has(t.tags, 'complaint') or r.score < 0 then 'complaint'
    when lower(t.type) = 'refund' then 'return'
    else coalesce(nullif(lower(btrim(t.type)), ''), 'question')
  end                                                                               as kind,
  case when r.score > 100 then 'good' when r.score < 0 then 'bad' end               as satisfaction,    -- null: not asked, no answer, or neutral
  nullif(btrim(t.subject), '')                                                      as subject,
  nullif(btrim(a.name), '')                                                         as agent_name,
  t.updated_at
from freshdesk__tickets t
left join hidden h on h.id = t.id
left join rated r on r.ticket_id = t.id
left join freshdesk__agents a on a.id = t.responder_id
where t.created_at <= $as_of and (h.hidden_at is null or h.hidden_at < t.updated_at)
