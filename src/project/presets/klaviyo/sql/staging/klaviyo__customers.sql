/* ---
key = "customer_id"
--- */
-- The profiles. Whoever was deleted there is written to no more.
-- Is `external_id` your shop's id of a customer? Say so, and the two are one person even where the addresses differ:
-- case when external_id is not null then 'shopify' end as link_source, external_id as link_id
select
  id                                                                     as customer_id,
  case when lower_email(email) is not null then btrim(email) end         as email,
  nullif(btrim(phone), '')                                               as phone,
  nullif(btrim(first_name), '')                                          as first_name,
  nullif(btrim(last_name), '')                                           as last_name,
  nullif(btrim(locale), '')                                              as locale,       -- null becomes the brand's
  nullif(btrim(timezone), '')                                            as timezone,     -- null becomes the brand's
  case when length(btrim(country)) = 2 then upper(btrim(country)) end    as country,      -- only codes: names are written in many ways
  created_at,
  updated_at,
  _deleted_at                                                            as deleted_at
from klaviyo__profiles
