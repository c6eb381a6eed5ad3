/* ---
key = "customer_id"
--- */
-- The people who answered. The files know them by their address only; where another source knows it too, they are one person. The hash
-- keeps the address itself out of ids, logs and file names.
select
  'email:' || left(encode(sha256(lower_email(email)), 'hex'), 24)                             as customer_id,   -- the same words in the other files
  first_value(btrim(email) order by answered_at desc, line desc)                              as email,
  first_value(btrim(first_name) order by answered_at desc, line desc)
    filter (where btrim(first_name) <> '')                                                    as first_name,
  min(answered_at)                                                                            as created_at,
  max(answered_at)                                                                            as updated_at
from generic_file__answers
where lower_email(email) is not null
group by lower_email(email)
