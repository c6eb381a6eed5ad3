/* ---
key = "order_id"
audits = ["not_null(ordered_at)"]
--- */
-- Orders as the CRM knows them: what a shop, or a person, wrote there. HubSpot has no field for whether an order is paid; it counts as
-- paid unless the shop's own word for its state, its stage or its refunds say otherwise. See the words of yours with
-- `perennial query "select external_status, stage, count(*) from hubspot__orders group by external_status, stage"`.
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
  select stage['id'] as id, lower(stage['label']) as label
  from (select unnest(stages) as stage from hubspot__order_pipelines)
),

-- A property that somebody emptied is an empty text.
orders_read as (
  select
    o.id,
    o.email,
    o.total,
    o.currency,
    cast(nullif(btrim(o.discount), '') as decimal(18, 4))                                  as discount,
    cast(nullif(btrim(o.refunded), '') as decimal(18, 4))                                  as refunded,
    nullif(btrim(o.coupon_code), '')                                                       as coupon_code,
    coalesce(cast(nullif(btrim(o.external_created_at), '') as timestamp), o.created_at)    as ordered_at,
    nullif(btrim(o.cancelled_at), '') is not null or coalesce(s.label, '') like 'cancel%'  as is_cancelled,
    translate(lower(btrim(coalesce(o.external_status, ''))), '-_', '  ')                   as word
  from hubspot__orders o
  left join stages s on s.id = o.stage
  where o._deleted_at is null
)

select
  'hubspot:' || o.id as order_id,
  coalesce(
    a.contact_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),   -- as declared in hubspot__customers.sql
    'guest:order-' || o.id
  ) as customer_id,
  o.ordered_at,
  case
    when o.is_cancelled or o.word in ('cancelled', 'canceled', 'voided', 'failed', 'expired') then 'cancelled'
    when o.word = 'refunded' or (o.total > 0 and o.refunded >= o.total) then 'refunded'
    when o.word in ('pending', 'pending payment', 'authorized', 'unpaid', 'on hold', 'draft') then 'pending'
    else 'paid'
  end as status,
  coalesce(nullif(upper(btrim(o.currency)), ''), $brand_currency) as currency,
  o.total,                                        -- the program makes it total_base
  coalesce(o.discount, 0) as discount,
  -coalesce(o.refunded, 0) as refunded,           -- zero or less; HubSpot does not tell when it went back
  o.coupon_code
from orders_read o
left join addresses a on a.address = lower_email(o.email)
where o.ordered_at <= $as_of

-- Deals in place of orders: a deal that was won is one. Put this query in place of the whole one above, and take the stream `deals`
-- in config/sources/hubspot.toml.
--
-- select
--   'hubspot:' || id                                                  as order_id,
--   coalesce(contacts[1]['id'], 'guest:order-' || id)                 as customer_id,
--   cast(nullif(closed_at, '') as timestamp)                          as ordered_at,
--   'paid'                                                            as status,
--   coalesce(nullif(upper(btrim(currency)), ''), $brand_currency)     as currency,
--   cast(nullif(amount, '') as decimal(18, 4))                        as total
-- from hubspot__deals
-- where _deleted_at is null and won = 'true' and cast(nullif(closed_at, '') as timestamp) <= $as_of
