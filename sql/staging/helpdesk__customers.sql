/* ---
key = "customer_id"
--- */
-- The help desk keeps no customers of its own: it has the CRM's id of whoever wrote, or only an address.
-- This file turns both into people, so that a complaint reaches the right person's record.
-- Where the CRM's id is known the address is left to the CRM: someone who wrote once from the office
-- should not get the shop's letters there from then on.
with

people as (
  select requester_id, requester_email, opened_at as seen_at, id from helpdesk__tickets

  union all

  select null as requester_id, requester_email, given_at as seen_at, id from helpdesk__ratings
)

select
  requester_id                                                     as customer_id,
  'crm'                                                            as link_source,
  requester_id                                                     as link_id,
  cast(null as varchar)                                            as email,
  min(seen_at)                                                     as created_at,
  min(seen_at)                                                     as updated_at
from people
where requester_id is not null
group by requester_id

union all

select
  'email:' || left(encode(sha256(lower_email(requester_email)), 'hex'), 24) as customer_id,  -- the same words in the other helpdesk files
  null                                                                      as link_source,
  null                                                                      as link_id,
  first_value(btrim(requester_email) order by seen_at desc, id)             as email,
  min(seen_at)                                                              as created_at,
  min(seen_at)                                                              as updated_at
from people
where requester_id is null and lower_email(requester_email) is not null
group by lower_email(requester_email)
