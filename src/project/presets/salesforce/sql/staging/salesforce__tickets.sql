/* ---
key = "ticket_id"
audits = ["not_null(opened_at)"]
--- */
-- Cases. An unresolved complaint silences marketing, a resolved one earns an apology. Which types are complaints your organisation
-- decides: add yours where `kind` is made, else nobody's anger silences anything.
with

-- Whose an address is; of several contacts a living one.
addresses as (
  select
    lower_email(email) as address,
    first_value(id order by is_deleted or _deleted_at is not null, updated_at desc, id) as contact_id
  from salesforce__contacts
  where lower_email(email) is not null
  group by lower_email(email)
)

select
  'salesforce:' || c.id as ticket_id,
  coalesce(
    c.contact_id,
    a.contact_id,
    'guest:' || left(encode(sha256(lower_email(c.email)), 'hex'), 24)   -- as declared in salesforce__customers.sql
  ) as customer_id,
  c.created_at as opened_at,
  case when c.is_closed then coalesce(c.closed_at, c.updated_at) end as resolved_at,
  case
    when c.is_closed then 'closed'
    when lower(c.status) in ('on hold', 'waiting on customer', 'pending') then 'pending'
    else 'open'
  end as status,
  case when lower(c.type) in ('problem', 'complaint') then 'complaint' else 'question' end as kind,
  nullif(btrim(c.subject), '') as subject,
  c.updated_at
from salesforce__cases c
left join addresses a on a.address = lower_email(c.email)
where not c.is_deleted and c._deleted_at is null and c.created_at <= $as_of
