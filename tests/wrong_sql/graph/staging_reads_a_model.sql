-- file: sql/staging/silence__feedback.sql
-- Everybody who has been quiet for a year gives us a bad mark.
select
  customer_id,
  last_order_at  as given_at,
  'nps'          as kind,
  0              as score
from customer_features
where quiet_days > 365
