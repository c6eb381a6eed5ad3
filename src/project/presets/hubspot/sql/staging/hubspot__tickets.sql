/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Conversations of the help desk. An unresolved complaint silences marketing, a resolved one earns an apology. HubSpot's categories
-- "product issue" and "billing issue" are complaints here; add your own where `kind` is made, else nobody's anger silences anything.
with

-- The same words as in hubspot__customers.sql.
addresses as (
  select lower_email(address) as address, first_value(id order by gone, updated_at desc, id) as contact_id
  from (
    select id, _deleted_at is not null as gone, updated_at, unnest(string_to_array(concat_ws(';', email, additional_emails), ';')) as address
    from hubspot__contacts
    union all
    select id, true as gone, archived_at as updated_at, email as address
    from hubspot__archived_contacts
  )
  where lower_email(address) is not null
  group by lower_email(address)
),

stages as (
  select stage['id'] as id, lower(stage['label']) as label, stage['metadata']['ticketState'] = 'CLOSED' as is_closed
  from (select unnest(stages) as stage from hubspot__ticket_pipelines)
),

tickets_read as (
  select
    t.*,
    split_part(t.emails, ';', 1)                                       as email,      -- of several people the first
    cast(nullif(btrim(t.closed_at), '') as timestamp)                  as closed,
    coalesce(s.is_closed, nullif(btrim(t.closed_at), '') is not null)  as is_closed,  -- a stage that no pipeline has any more says nothing
    coalesce(s.label, '')                                              as label
  from hubspot__tickets t
  left join stages s on s.id = t.stage
  where t._deleted_at is null and t.created_at <= $as_of
)

select
  'hubspot:' || t.id as ticket_id,
  coalesce(
    a.contact_id,
    'guest:' || left(encode(sha256(lower_email(t.email)), 'hex'), 24)    -- as declared in hubspot__customers.sql
  ) as customer_id,
  t.created_at as opened_at,
  cast(nullif(btrim(t.first_reply_at), '') as timestamp) as first_reply_at,
  case when t.is_closed then coalesce(t.closed, t.updated_at) end as resolved_at,
  case
    when t.is_closed then 'closed'
    when t.label like '%waiting on contact%' then 'pending'
    else 'open'
  end as status,
  case when t.category in ('PRODUCT_ISSUE', 'BILLING_ISSUE') then 'complaint' else 'question' end as kind,
  nullif(btrim(t.subject), '') as subject,
  t.updated_at
from tickets_read t
left join addresses a on a.address = lower_email(t.email)
