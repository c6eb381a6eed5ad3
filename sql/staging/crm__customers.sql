/* ---
key = "customer_id"
--- */
-- The people the CRM knows. It is where names, languages and time zones are kept best, and it says which
-- of them are which customer of the shop; that link is what makes two records one person.
select
  id                                                           as customer_id,  -- the CRM's own id; the program makes it canonical
  case when shop_customer_id is not null then 'shop' end       as link_source,  -- "this contact is customer 17 of the shop"
  shop_customer_id                                             as link_id,
  case when lower_email(email) is not null then btrim(email) end as email,      -- as written; null where it is no address at all
  nullif(btrim(phone), '')                                     as phone,
  nullif(btrim(first_name), '')                                as first_name,   -- an empty name is no name: templates greet without one
  nullif(btrim(last_name), '')                                 as last_name,
  nullif(btrim(honorific), '')                                 as honorific,
  nullif(btrim(locale), '')                                    as locale,       -- null becomes the brand's
  nullif(btrim(timezone), '')                                  as timezone,     -- null becomes the brand's
  nullif(btrim(country), '')                                   as country,
  birthday,
  created_at,
  updated_at,
  deleted_at                                                                    -- kept: whoever was deleted is written to no more
from crm__contacts
