/* ---
key = "customer_id"
--- */
-- The contacts of the CRM, deleted ones included: whoever was deleted is written to no more. Beside them stand the guests: addresses
-- that ordered, wrote or unsubscribed, and that no contact has. Where a guest's address is known to another source, the program sees
-- one person.
-- No stream `orders`? Take its line out of `heard`; the same goes for `tickets`.
with

-- Whose an address is. A contact may have several; of two contacts with one address the living one has it.
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

heard as (
  select email, created_at as at from hubspot__orders
  union all
  select split_part(emails, ';', 1) as email, created_at as at from hubspot__tickets
  union all
  select recipient as email, at from hubspot__subscription_changes
)

select
  c.id                                                                   as customer_id,
  case when lower_email(c.email) is not null then btrim(c.email) end     as email,
  coalesce(nullif(btrim(c.mobile_phone), ''), nullif(btrim(c.phone), '')) as phone,
  nullif(btrim(c.first_name), '')                                        as first_name,
  nullif(btrim(c.last_name), '')                                         as last_name,
  nullif(btrim(c.salutation), '')                                        as honorific,
  case
    when c.language like '%-%' then split_part(c.language, '-', 1) || '-' || upper(split_part(c.language, '-', 2))   -- en-gb
    else nullif(c.language, '')
  end                                                                    as locale,
  replace(initcap(replace(nullif(c.timezone, ''), '_slash_', '/')), '_Of_', '_of_') as timezone,   -- europe_slash_berlin
  nullif(upper(btrim(c.country)), '')                                    as country,
  c.created_at,
  c.updated_at,
  c._deleted_at                                                          as deleted_at   -- who is restored lives again with the next change
from hubspot__contacts c

union all

-- Deleted before we ever read them.
select
  a.id                                                               as customer_id,
  case when lower_email(a.email) is not null then btrim(a.email) end as email,
  null                                                               as phone,
  null                                                               as first_name,
  null                                                               as last_name,
  null                                                               as honorific,
  null                                                               as locale,
  null                                                               as timezone,
  null                                                               as country,
  null                                                               as created_at,
  a.archived_at                                                      as updated_at,
  a.archived_at                                                      as deleted_at
from hubspot__archived_contacts a
left anti join hubspot__contacts c on c.id = a.id

union all

select
  'guest:' || left(encode(sha256(lower_email(h.email)), 'hex'), 24) as customer_id,   -- the same words in the other hubspot files
  first_value(btrim(h.email) order by h.at desc, h.email)           as email,
  null                                                              as phone,
  null                                                              as first_name,
  null                                                              as last_name,
  null                                                              as honorific,
  null                                                              as locale,
  null                                                              as timezone,
  null                                                              as country,
  min(h.at)                                                         as created_at,
  min(h.at)                                                         as updated_at,    -- never outranks what a real record says
  null                                                              as deleted_at
from heard h
left anti join addresses a on a.address = lower_email(h.email)
where lower_email(h.email) is not null
group by lower_email(h.email)
