/* ---
key = "customer_id"
--- */
-- The system's customers, and the guests: people who ordered without an account and left only an address.
-- Does your system know which customer of another one this is? Say so, and they are one person, whatever their addresses:
--   case when shop_id is not null then 'shopify' end as link_source,
--   shop_id                                          as link_id,
-- A guest is a person like any other. Where the address also belongs to a customer, the program
-- sees one person; the hash keeps the address itself out of ids, logs and file names.
select
  id                                                             as customer_id,
  case when lower_email(email) is not null then btrim(email) end as email,
  nullif(btrim(phone), '')                                       as phone,
  nullif(btrim(first_name), '')                                  as first_name,
  nullif(btrim(last_name), '')                                   as last_name,
  nullif(btrim(locale), '')                                      as locale,      -- null becomes the brand's
  nullif(btrim(timezone), '')                                    as timezone,    -- null becomes the brand's
  nullif(btrim(country), '')                                     as country,
  birthday,
  created_at,
  updated_at,
  deleted_at
from generic_http__customers

union all

select
  'guest:' || left(encode(sha256(lower_email(email)), 'hex'), 24) as customer_id,  -- the same words as in generic_http__orders.sql
  first_value(btrim(email) order by ordered_at desc, id)          as email,
  null                                                           as phone,
  null                                                           as first_name,
  null                                                           as last_name,
  null                                                           as locale,
  null                                                           as timezone,
  null                                                           as country,
  null                                                           as birthday,
  min(ordered_at)                                                 as created_at,   -- a guest begins with the first order
  min(ordered_at)                                                 as updated_at,   -- and never outranks what a real record says
  null                                                           as deleted_at
from generic_http__orders
where customer_id is null and lower_email(email) is not null
group by lower_email(email)
