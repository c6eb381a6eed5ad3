/* ---
key = "customer_id"
params = { tier = "platinum", rhythm_percent = 150, min_quiet_days = 21, max_quiet_days = 180, recent = "14 days" }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "not_null(what_changed)", "rows(0, 10000)"]
--- */
-- Decides which of the best customers a person should call: someone in the top tier who has become unusually
-- quiet, or who is unhappy right now. A letter would be too little, and the wrong voice. After half a year
-- of silence nothing has changed any more: `lapsed` writes to them like to everybody else.
with

-- A complaint counts while it is open and fresh, a bad mark for our answer as long.
watched as (
  select
    f.*,
    f.quiet_days > $min_quiet_days
      and f.quiet_days < $max_quiet_days
      and f.quiet_days * 100 > f.rhythm_days * $rhythm_percent                    as is_quiet,
    f.open_complaint
      and f.last_complaint_at + cast($recent as interval) > $as_of           as is_complaining,
    f.last_unhappy_at + cast($recent as interval) > $as_of                   as is_unhappy
  from customer_features f
  where f.tier = $tier
)

select
  customer_id,
  email,
  first_name,
  last_name,
  honorific,
  locale,
  timezone,
  country,
  phone,
  tier,
  orders,
  total_base,                               -- what they have been worth so far
  $brand_currency as currency,
  last_order_id,                            -- the occasion: one call per silence
  last_order_at,
  quiet_days,
  usual_days,
  last_product,
  favourite_category,
  open_complaint,
  last_ticket_subject,
  last_ticket_at,
  concat_ws('; ',                           -- the reasons to call, most urgent first
    case when is_complaining then
      'has a complaint that is still open, made ' || cast(days_between(last_complaint_at, $as_of, $brand_timezone) as varchar) || ' days ago' end,
    case when is_unhappy then
      'called our last answer bad, ' || cast(days_between(last_unhappy_at, $as_of, $brand_timezone) as varchar) || ' days ago' end,
    case when is_quiet then
      'orders every ' || cast(usual_days as varchar) || ' days or so, but has not ordered for ' || cast(quiet_days as varchar) || ' days' end
  ) as what_changed
from watched
where is_quiet or is_complaining or is_unhappy
