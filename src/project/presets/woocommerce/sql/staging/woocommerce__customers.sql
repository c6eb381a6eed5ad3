/* ---
key = "customer_id"
--- */
-- The shop's accounts, and the guests: people who ordered without an account and left an address with their order.
-- A guest is a person like any other. Where the address also belongs to an account, the program sees one person; the
-- hash keeps the address itself out of ids, logs and file names.
with

guest_orders as (
  select *, lower_email(email) as address
  from woocommerce__orders
  where coalesce(nullif(customer_id, '0'), '') = '' and lower_email(email) is not null
    and lower_email(email) not like '%@site.invalid'      -- what WordPress writes where it erased somebody
    and _deleted_at is null
),

-- Names and places as the newest order has them.
guests as (
  select
    address,
    first_value(btrim(email) order by ordered_at desc, id)                   as email,
    first_value(nullif(btrim(phone), '') order by ordered_at desc, id)       as phone,
    first_value(nullif(btrim(first_name), '') order by ordered_at desc, id)  as first_name,
    first_value(nullif(btrim(last_name), '') order by ordered_at desc, id)   as last_name,
    first_value(nullif(btrim(country), '') order by ordered_at desc, id)     as country,
    min(ordered_at)                                                          as first_ordered_at,
    max(ordered_at)                                                          as last_ordered_at
  from guest_orders
  group by address
),

-- WooCommerce makes the orders of a deleted account a guest's.
deleted as (
  select lower_email(email) as address, max(_deleted_at) as deleted_at
  from woocommerce__customers
  where _deleted_at is not null
  group by lower_email(email)
)

select
  id                                                             as customer_id,
  case when lower_email(email) is not null then btrim(email) end as email,         -- null where it is no address at all
  nullif(btrim(phone), '')                                       as phone,
  nullif(btrim(first_name), '')                                  as first_name,    -- an empty name is no name: templates greet without one
  nullif(btrim(last_name), '')                                   as last_name,
  nullif(btrim(country), '')                                     as country,
  created_at,
  coalesce(modified_at, created_at)                              as updated_at,
  _deleted_at                                                    as deleted_at     -- kept: whoever was deleted is written to no more
from woocommerce__customers

union all

select
  'guest:' || left(encode(sha256(g.address), 'hex'), 24)         as customer_id,   -- the same words as in woocommerce__orders.sql
  g.email,
  g.phone,
  g.first_name,
  g.last_name,
  g.country,
  g.first_ordered_at                                             as created_at,    -- a guest begins with the first order
  g.first_ordered_at                                             as updated_at,    -- and never outranks what an account says
  case when d.deleted_at > g.last_ordered_at then d.deleted_at end as deleted_at   -- a deleted account does not come back as a guest
from guests g
left join deleted d on d.address = g.address
