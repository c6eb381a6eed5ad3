/* ---
key = "customer_id"
params = { window = "7 days", max_score = 6 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(occasion)", "rows(0, 10000)"]
--- */
-- Decides whom a person of ours answers: whoever said within the last week that they would not recommend us
-- (0 to 6), if that is still what they last said. A letter from a machine would prove them right.
--
-- This goes to staff, so nobody is spared for an open complaint: whoever answers should know of it. Nor must
-- they have bought anything. Each answer is an occasion of its own, so that none goes unheard.
with

answers as (
  select customer_id, max(given_at) as given_at
  from feedback
  where kind = 'nps'
    and score between 0 and 10
    and given_at <= $as_of
    and given_at + cast($window as interval) > $as_of
  group by customer_id
),

-- Of two answers in one instant the lower one counts, and of equal ones the one with words.
latest as (
  select
    a.customer_id,
    a.given_at,
    min(b.score)                                                                            as score,
    first_value(b.comment order by b.score, b.comment nulls last)                           as comment,
    first_value(b.campaign order by b.score, b.comment nulls last, b.campaign nulls last)   as campaign
  from answers a
  join feedback b on b.customer_id = a.customer_id and b.given_at = a.given_at
  where b.kind = 'nps' and b.score between 0 and 10
  group by a.customer_id, a.given_at
)

select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.phone,
  cast(l.given_at as varchar)                                as occasion,       -- this answer
  l.given_at,
  days_between(l.given_at, $as_of, $brand_timezone)          as days_ago,
  l.score,                                                                      -- 0 to 6
  l.comment,                                                                    -- in their words; null where they left none
  l.campaign,                                                                   -- what we had written when they answered, where known
  f.tier,
  f.orders,
  f.total_base,                                                                 -- what they have been worth so far
  $brand_currency                                            as currency,
  f.first_order_at,
  f.last_order_id,
  f.last_order_at,
  f.quiet_days,
  f.last_product,
  f.favourite_category,
  f.open_complaint,
  f.last_ticket_subject,
  f.last_ticket_at
from latest l
join customer_features f on f.customer_id = l.customer_id
where l.score <= $max_score
