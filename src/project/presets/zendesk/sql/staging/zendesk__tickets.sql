/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Conversations in Zendesk. An unresolved complaint silences marketing, a resolved one earns an apology.
-- Zendesk does not say what a complaint is. Here it is a problem or an incident, what is tagged `complaint`, and what was rated bad;
-- change the words to those of your agents.
-- Which order a ticket is about stands in a field of your own, if at all: add it to the columns in zendesk.toml, and here as order_id.
select
  'zendesk:' || t.id                                                                as ticket_id,
  case when coalesce(asked.role, 'end-user') = 'end-user' then t.requester_id end   as customer_id,     -- a colleague's question is nobody's
  t.created_at                                                                      as opened_at,
  t.created_at + cast(coalesce(m.reply_seconds, 60 * m.reply_minutes) || ' seconds' as interval) as first_reply_at,   -- null: no answer yet
  case when t.status in ('solved', 'closed') then coalesce(m.solved_at, t.updated_at) end as resolved_at,  -- a reopened ticket is unresolved again
  t.status,                                                                         -- new, open, pending, hold, solved, closed
  case
    when t.type in ('problem', 'incident') or array_has(t.tags, 'complaint') or t.satisfaction = 'bad' then 'complaint'
    else coalesce(nullif(t.type, ''), 'question')
  end                                                                               as kind,
  case when t.satisfaction in ('good', 'bad') then t.satisfaction end               as satisfaction,    -- null: not asked or not answered
  nullif(btrim(t.subject), '')                                                      as subject,
  nullif(btrim(agent.name), '')                                                     as agent_name,
  t.updated_at
from zendesk__tickets t
left join zendesk__ticket_metrics m on m.ticket_id = t.id
left join zendesk__users asked on asked.id = t.requester_id
left join zendesk__users agent on agent.id = t.assignee_id
where t.created_at <= $as_of and t.status <> 'deleted'
