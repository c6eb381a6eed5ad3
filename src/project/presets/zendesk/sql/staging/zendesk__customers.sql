/* ---
key = "customer_id"
--- */
-- The people who wrote to Zendesk; agents and admins are colleagues and left out.
-- Language and time zone are left to other sources: where Zendesk does not know a person's, it writes your account's.
-- Do your users carry the shop's customer number in `external_id`? Then say so, and they are one person, whatever address they wrote from:
--   case when external_id is not null then 'shopify' end as link_source,
--   external_id                                           as link_id,
with

people as (
  select
    *,
    -- One field for the whole name. What stands for nobody in particular, such as the first half of the address, is no name.
    case
      when name like '%@%' or lower(name) = lower(split_part(email, '@', 1)) then null
      else nullif(btrim(name), '')
    end as called
  from zendesk__users
  where role = 'end-user'
)

select
  id                                                             as customer_id,
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
  created_at,
  updated_at,
  case when not active then updated_at end                       as deleted_at    -- kept: whoever was deleted is written to no more
from people
