/* ---
key = "customer_id"
--- */
-- The shop's customers, and the guests: whoever left only an address with an order (an import, a sale at the till).
-- Where the address also belongs to somebody else's record, the program sees one person; the hash keeps the address
-- itself out of ids, logs and file names.
with

guests as (
  select
    lower_email(email)                                                   as address,
    first_value(btrim(email) order by ordered_at desc, id)               as email,
    first_value(nullif(btrim(locale), '') order by ordered_at desc, id)  as locale,
    min(ordered_at)                                                      as first_ordered_at,
    max(ordered_at)                                                      as last_ordered_at
  from shopify_rest__orders
  where customer_id is null and lower_email(email) is not null and not coalesce(test, false) and _deleted_at is null
  group by lower_email(email)
),

deleted as (
  select lower_email(email) as address, max(_deleted_at) as deleted_at
  from shopify_rest__customers
  where _deleted_at is not null
  group by lower_email(email)
)

select
  id                                                             as customer_id,   -- Shopify's number; other systems know people by it
  case when lower_email(email) is not null then btrim(email) end as email,         -- null where it is no address at all
  nullif(btrim(phone), '')                                       as phone,
  nullif(btrim(first_name), '')                                  as first_name,    -- an empty name is no name: templates greet without one
  nullif(btrim(last_name), '')                                   as last_name,
  cast(null as varchar)                                          as locale,        -- only GraphQL tells it
  nullif(btrim(country), '')                                     as country,
  created_at,
  updated_at,
  _deleted_at                                                    as deleted_at     -- kept: whoever was deleted is written to no more
from shopify_rest__customers

union all

select
  'guest:' || left(encode(sha256(g.address), 'hex'), 24)         as customer_id,   -- the same words as in shopify_rest__orders.sql
  g.email,
  null                                                           as phone,
  null                                                           as first_name,
  null                                                           as last_name,
  g.locale,
  null                                                           as country,
  g.first_ordered_at                                             as created_at,    -- a guest begins with the first order
  g.first_ordered_at                                             as updated_at,    -- and never outranks what a real record says
  case when d.deleted_at > g.last_ordered_at then d.deleted_at end as deleted_at   -- a deleted customer does not come back as a guest
from guests g
left join deleted d on d.address = g.address
