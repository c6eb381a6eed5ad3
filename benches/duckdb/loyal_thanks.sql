-- sql/segments/loyal_thanks.sql, in DuckDB's words.
select
  customer_id,
  email,
  first_name,
  last_name,
  honorific,
  locale,
  timezone,
  country,
  tier,
  tier_reached_at,
  orders,
  first_order_at,
  cast(date_part('year', local_date(first_order_at, $brand_timezone))
       as bigint) as customer_since_year,
  items as items_total,
  favourite_category
from customer_features
where tier <> 'member'
  and tier_reached_at <= $as_of
  and tier_reached_at + cast($window as interval) > $as_of
