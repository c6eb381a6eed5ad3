/* ---
audits = ["not_null(given_at)", "not_null(score)"]
--- */
-- What people answered when Zendesk asked whether they were helped: good is 5, bad is 1.
select
  requester_id                          as customer_id,
  updated_at                            as given_at,
  'csat'                                as kind,
  case score when 'good' then 5 when 'bad' then 1 end as score,
  nullif(btrim(comment), '')            as comment
from zendesk__satisfaction_ratings
where updated_at <= $as_of and score in ('good', 'bad')
