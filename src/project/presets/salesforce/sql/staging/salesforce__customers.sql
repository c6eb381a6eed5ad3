/* ---
key = "customer_id"
--- */
-- The contacts, person accounts among them: Salesforce keeps a contact for each. Deleted ones stay, so that nobody writes to them.
-- Beside them stand the addresses that a case was written from and that no contact has.
with

heard as (
  select c.email, c.created_at as at
  from salesforce__cases c
  left anti join salesforce__contacts k on lower_email(k.email) = lower_email(c.email)
  where c.contact_id is null and lower_email(c.email) is not null
)

select
  id                                                                   as customer_id,
  case when merged_into is not null then 'salesforce' end              as link_source,   -- merged: this record is now that one
  merged_into                                                          as link_id,
  case when lower_email(email) is not null then btrim(email) end       as email,
  coalesce(nullif(btrim(mobile_phone), ''), nullif(btrim(phone), ''))  as phone,
  nullif(btrim(first_name), '')                                        as first_name,
  nullif(btrim(last_name), '')                                         as last_name,
  nullif(btrim(salutation), '')                                        as honorific,
  case when length(btrim(country)) = 2 then upper(btrim(country)) end  as country,       -- only codes: names are written in many ways
  birthday,
  created_at,
  updated_at,
  coalesce(_deleted_at, case when is_deleted then updated_at end)      as deleted_at     -- gone for good, or in the recycle bin
from salesforce__contacts

union all

select
  'guest:' || left(encode(sha256(lower_email(email)), 'hex'), 24)  as customer_id,       -- the same words as in salesforce__tickets.sql
  null                                                             as link_source,
  null                                                             as link_id,
  first_value(btrim(email) order by at desc, email)                as email,
  null                                                             as phone,
  null                                                             as first_name,
  null                                                             as last_name,
  null                                                             as honorific,
  null                                                             as country,
  null                                                             as birthday,
  min(at)                                                          as created_at,
  min(at)                                                          as updated_at,        -- never outranks what a real record says
  null                                                             as deleted_at
from heard
group by lower_email(email)
