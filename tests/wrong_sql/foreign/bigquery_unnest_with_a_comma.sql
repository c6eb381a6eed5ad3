-- file: sql/staging/bq__feedback.sql
-- A refunded line counts as a bad mark.
select
  o.customer_id,
  r.at      as given_at,
  'review'  as kind,
  1         as score
from shop__orders o, unnest(o.refunds) r
