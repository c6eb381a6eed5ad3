/* ---
audits = ["not_null(given_at)"]
--- */
-- What people answered when Freshdesk asked whether they were helped: 5 is extremely happy, 3 neutral, 1 extremely unhappy.
select
  user_id                     as customer_id,
  updated_at                  as given_at,
  'csat'                      as kind,
  case
    when score = 103 then 5
    when score > 100 then 4
    when score = 100 then 3
    when score > -103 then 2
    else 1
  end                         as score,
  nullif(btrim(feedback), '') as comment
from freshdesk__satisfaction_ratings
where updated_at <= $as_of and score is not null
