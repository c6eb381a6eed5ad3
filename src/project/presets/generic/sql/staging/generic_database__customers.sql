/* ---
key = "customer_id"
--- */
-- The customers of the database. `_deleted_at` is when the weekly look at all rows missed them.
select
  id                                                             as customer_id,
  case when lower_email(email) is not null then btrim(email) end as email,        -- as written; null where it is no address at all
  nullif(btrim(first_name), '')                                  as first_name,   -- an empty name is no name: templates greet without one
  nullif(btrim(last_name), '')                                   as last_name,
  created_at,
  updated_at,
  _deleted_at                                                    as deleted_at    -- kept: whoever was deleted is written to no more
from generic_database__customers
