/* ---
key = "customer_id"
--- */
-- Stripe's customers, and the guests: people who paid without an account and left only an address.
-- The latest version of a customer counts: what the list said when it was read, or a later event. Who was deleted stays so for ever.
with

versions as (
  select
    id, email, name, phone, locales, country, created_at,
    created_at                                              as updated_at,
    _pulled_at                                              as seen_at,
    _deleted_at                                             as deleted_at,
    id                                                      as version
  from stripe__customers

  union all

  select
    customer_id, email, name, phone, locales, country, created_at,
    at,
    at + interval '1 hour',                                 -- clocks differ: a list read shortly after does not outweigh an event
    case when type = 'customer.deleted' then at end,
    id
  from stripe__customer_events
),

customers as (
  select
    *,
    row_number() over (partition by id order by deleted_at is not null desc, seen_at desc, version desc) as nth
  from versions
),

people as (
  select id as customer_id, email, name, phone, locales[1] as locale, country, created_at, updated_at, deleted_at
  from customers
  where nth = 1

  union all

  select
    'guest:' || left(encode(sha256(lower_email(coalesce(email, receipt_email))), 'hex'), 24) as customer_id,   -- the same words in the other files
    first_value(btrim(coalesce(email, receipt_email)) order by created_at desc, id),
    first_value(name order by created_at desc, id) filter (where name is not null),
    first_value(phone order by created_at desc, id) filter (where phone is not null),
    null,
    first_value(country order by created_at desc, id) filter (where country is not null),
    min(created_at),                                        -- a guest begins with the first payment
    min(created_at),                                        -- and never outranks what a real record says
    null
  from stripe__charges
  where customer_id is null and lower_email(coalesce(email, receipt_email)) is not null
  group by lower_email(coalesce(email, receipt_email))
),

called as (
  select
    *,
    -- One field for the whole name. What stands for nobody in particular, such as the first half of the address, is no name.
    case
      when name like '%@%' or lower(name) = lower(split_part(email, '@', 1)) then null
      else nullif(btrim(name), '')
    end as called
  from people
)

select
  customer_id,
  case when lower_email(email) is not null then btrim(email) end as email,
  nullif(btrim(phone), '')                                       as phone,
  -- Split where the first name surely stands first: not in Chinese, Japanese and Korean, and not where there is one word only.
  case
    when called ~ '\s' and not called ~ '[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]' then split_part(called, ' ', 1)
  end                                                            as first_name,
  case
    when called ~ '\s' and not called ~ '[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]' then regexp_replace(called, '^\S+\s+', '')
    else called
  end                                                            as last_name,
  nullif(btrim(locale), '')                                      as locale,
  nullif(btrim(country), '')                                     as country,
  created_at,
  updated_at,
  deleted_at                                                                     -- kept: whoever was deleted is written to no more
from called
