-- sql/segments/vip_handoff.sql, in DuckDB's words.
with

calls as (
  select
    customer_id,
    max("at")                                             as last_at,
    max("at") filter (where occasion like 'complaint:%')  as complaint_at
  from sends
  where campaign = 'vip-handoff' and state in ('accepted', 'unknown') and "at" <= $as_of
    and (occasion like 'complaint:%' or occasion like 'unhappy:%')
  group by customer_id
),

watched as (
  select
    f.*,
    f.quiet_days > $min_quiet_days
      and f.quiet_days < $max_quiet_days
      and f.quiet_days * 100 > f.rhythm_days * $rhythm_percent
      and coalesce(days_between(c.last_at, $as_of, $brand_timezone) > $min_quiet_days, true)  as is_quiet,
    coalesce(f.open_complaint_at + cast($recent as interval) > $as_of, false)                 as is_complaining,
    coalesce(f.last_unhappy_at + cast($recent as interval) > $as_of, false)
      and coalesce(f.last_unhappy_at > c.complaint_at, true)                                    as is_unhappy
  from customer_features f
  left join calls c on c.customer_id = f.customer_id
  where f.tier = $tier
),

dated as (
  select
    *,
    days_between(open_complaint_at, $as_of, $brand_timezone) as complaint_days,
    days_between(last_unhappy_at, $as_of, $brand_timezone)   as unhappy_days
  from watched
  where is_quiet or is_complaining or is_unhappy
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
  total_base,
  $brand_currency as currency,
  case
    when is_complaining and not (is_unhappy and last_unhappy_at > open_complaint_at)
      then concat('complaint:', written(open_complaint_at))
    when is_unhappy
      then concat('unhappy:', written(last_unhappy_at))
    else last_order_id
  end as occasion,
  last_order_id,
  last_order_at,
  quiet_days,
  usual_days,
  last_product,
  favourite_category,
  open_complaint,
  last_ticket_subject,
  last_ticket_at,
  concat_ws('; ',
    case when is_complaining then
      'has a complaint that is still open, made ' || case complaint_days
        when 0 then 'today'
        when 1 then 'yesterday'
        else cast(complaint_days as varchar) || ' days ago'
      end
    end,
    case when is_unhappy then
      'called our last answer bad ' || case unhappy_days
        when 0 then 'today'
        when 1 then 'yesterday'
        else cast(unhappy_days as varchar) || ' days ago'
      end
    end,
    case when is_quiet then
      'usually orders ' || case usual_days
        when 1 then 'nearly every day'
        else 'every ' || cast(usual_days as varchar) || ' days or so'
      end
      || ', but has not ordered for ' || cast(quiet_days as varchar) || ' days'
    end
  ) as what_changed
from dated
