/* ---
key = "customer_id"
--- */
-- The people who wrote to Freshdesk.
-- Do your contacts carry the shop's customer number in `unique_external_id`? Then say so, and they are one person, whatever address they
-- wrote from:
--   case when external_id is not null then 'shopify' end as link_source,
--   external_id                                           as link_id,
with

contacts as (
  select
    coalesce(c.id, d.id)                 as id,
    coalesce(c.email, d.email)           as email,
    coalesce(c.name, d.name)             as name,
    coalesce(nullif(btrim(c.phone), ''), nullif(btrim(c.mobile), '')) as phone,
    c.external_id,
    coalesce(c.created_at, d.created_at) as created_at,
    greatest(c.updated_at, d.updated_at) as updated_at,
    case when c.id is null then d.updated_at else c._deleted_at end as deleted_at   -- in the trash already before the first pull
  from freshdesk__contacts c
  full join freshdesk__deleted_contacts d on d.id = c.id
),

people as (
  select
    *,
    -- One field for the whole name. What stands for nobody in particular, such as the first half of the address, is no name.
    case
      when name like '%@%' or lower(name) = lower(split_part(email, '@', 1)) then null
      else nullif(btrim(name), '')
    end as called
  from contacts
)

select
  id                                                             as customer_id,
  case when lower_email(email) is not null then btrim(email) end as email,
  phone,
  -- Split where the first name surely stands first: not in Chinese, Japanese and Korean, and not where there is one word only.
  case
    when called ~ '\s' and not called ~ '[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]' then split_part(called, ' ', 1)
  end                                                            as first_name,
  case
    when called ~ '\s' and not called ~ '[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]' then regexp_replace(called, '^\S+\s+', '')
    else called
  end                                                            as last_name,
  created_at,
  updated_at,
  deleted_at                                                                     -- kept: whoever was deleted is written to no more
from people
