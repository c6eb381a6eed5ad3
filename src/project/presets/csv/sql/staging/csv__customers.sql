/* ---
key = "customer_id"
--- */
-- The people of data-in/customers.csv.
-- A column your file does not have: delete its line here and in config/sources/csv.toml. The last three lines stay.
select
  nullif(btrim(first_name), '')  as first_name,    -- an empty name is no name: letters begin without one
  nullif(btrim(last_name), '')   as last_name,
  nullif(btrim(phone), '')       as phone,
  nullif(btrim(locale), '')      as locale,        -- null becomes the brand's
  nullif(btrim(timezone), '')    as timezone,      -- null becomes the brand's
  nullif(btrim(country), '')     as country,
  birthday,
  created_at,
  case when lower_email(email) is not null then btrim(email) end as email,   -- null where it is no address at all
  _pulled_at                     as updated_at,
  customer_id
from csv__customers
