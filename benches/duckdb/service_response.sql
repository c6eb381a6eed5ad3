-- sql/metrics/service_response.sql, in DuckDB's words.
with

asked as (
  select
    ticket_id,
    kind,
    satisfaction,
    opened_at,
    local_date(opened_at, $brand_timezone) as day,
    case when first_reply_at <= $as_of
      then (epoch_us(first_reply_at) - epoch_us(opened_at)) // 3600000000 end                  as reply_hours,
    resolved_at <= opened_at + cast($resolve_within as interval) and resolved_at <= $as_of     as in_time,
    coalesce(resolved_at <= $as_of, coalesce(status, '') in ('solved', 'closed', 'resolved'))  as is_resolved
  from tickets
  where opened_at <= $as_of
),

dated as (
  select
    *,
    make_date(date_part('year', day), date_part('month', day), 1) as month
  from asked
),

ranked as (
  select
    month,
    reply_hours,
    row_number() over (partition by month order by reply_hours asc nulls last, ticket_id) as place
  from dated
),

counts as (
  select
    month,
    count(*)                                                                 as tickets,
    count(*) filter (where kind = 'complaint')                               as complaints,
    count(reply_hours)                                                       as replied,
    count(*) filter (where is_resolved)                                      as resolved,
    count(*) filter (where in_time)                                          as resolved_in_time,
    count(*) filter (where is_resolved and satisfaction in ('good', 'bad'))  as rated,
    count(*) filter (where is_resolved and satisfaction = 'good')            as rated_good,
    max(opened_at)                                                           as last_opened_at
  from dated
  group by month
),

waits as (
  select
    c.month,
    max(r.reply_hours) filter (where r.place = (c.tickets + 1) // 2)       as median_hours,
    max(r.reply_hours) filter (where r.place = (c.tickets * 9 + 9) // 10)  as p90_hours
  from counts c
  join ranked r on r.month = c.month
  group by c.month
)

select
  c.month,
  c.tickets,
  c.complaints,
  c.replied,
  w.median_hours  as median_first_reply_hours,
  w.p90_hours     as p90_first_reply_hours,
  case when c.last_opened_at + cast($resolve_within as interval) <= $as_of then
    cast(quotient(c.resolved_in_time, c.tickets) as decimal(6, 4)) end  as resolved_in_time,
  cast(quotient(c.resolved, c.tickets) as decimal(6, 4))                as resolved_so_far,
  c.rated                                                               as satisfaction_n,
  cast(quotient(c.rated_good, nullif(c.rated, 0)) as decimal(6, 4))     as satisfaction_good
from counts c
join waits w on w.month = c.month
order by c.month
