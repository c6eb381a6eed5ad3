/* ---
key = "customer_id"
params = { window = "7 days" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(tier)", "not_null(tier_reached_at)", "rows(0, 100000)"]
--- */
-- Decides whom we thank for staying: people whose latest order took them into a new tier within the last week.
-- Everybody starts as a member, so that one is no news; silver, gold and platinum are, once each.
--
-- Once each for ever: the occasion is the tier, not the day, for a refund can move the day, and whoever falls
-- back and climbs again has been thanked for that step.
select
  customer_id,
  email,
  first_name,
  last_name,
  honorific,
  locale,
  timezone,
  country,
  tier,                                     -- the occasion
  tier_reached_at,                          -- the moment of the order that did it
  orders,
  first_order_at,
  cast(date_part('year', local_date(first_order_at, $brand_timezone)) as bigint) as customer_since_year,   -- by the brand's calendar
  items as items_total,                     -- pieces they kept in all these years
  favourite_category
from customer_features
where tier <> 'member'
  and tier_reached_at <= $as_of
  and tier_reached_at + cast($window as interval) > $as_of
