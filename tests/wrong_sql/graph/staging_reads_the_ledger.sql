-- file: sql/staging/clicks__feedback.sql
-- A click in a letter is a good mark.
select
  customer_id,
  at        as given_at,
  'review'  as kind,
  5         as score
from events
where kind = 'clicked'
