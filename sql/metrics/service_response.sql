/* ---
key = "month"
params = { resolve_within = "7 days" }
audits = ["unique(month)", "not_null(month)", "not_null(tickets)"]
--- */
-- Month by month: how long do people wait for an answer, and are they content with it?
--
-- The median and the ninetieth percentile are exact: the tickets of a month are put in order of their wait,
-- and the one in the middle (nearest rank) is read off. A ticket nobody has answered yet waits longest of
-- all; where it would be the one to read off, the cell is null, for the true wait is not known yet.
-- The share resolved in time is null until every ticket of the month has had that time.
with

asked as (
  select
    ticket_id,
    kind,
    satisfaction,
    opened_at,
    local_date(opened_at, $brand_timezone)                                                      as day,
    case when first_reply_at <= $as_of
      then (cast(first_reply_at as bigint) - cast(opened_at as bigint)) / 3600000000 end       as reply_hours,  -- microseconds an hour, rounded down
    resolved_at <= opened_at + cast($resolve_within as interval) and resolved_at <= $as_of      as in_time,
    coalesce(resolved_at <= $as_of, coalesce(status, '') in ('solved', 'closed', 'resolved'))   as is_resolved  -- closed without a time: once, nobody wrote down when
  from tickets
  where opened_at <= $as_of
),

dated as (
  select
    *,
    make_date(cast(date_part('year', day) as integer), cast(date_part('month', day) as integer), 1) as month
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
    count(*)                                                                    as tickets,
    count(*) filter (where kind = 'complaint')                                  as complaints,
    count(reply_hours)                                                          as replied,
    count(*) filter (where is_resolved)                                         as resolved,
    count(*) filter (where in_time)                                             as resolved_in_time,
    count(*) filter (where is_resolved and satisfaction in ('good', 'bad'))     as rated,
    count(*) filter (where is_resolved and satisfaction = 'good')               as rated_good,
    max(opened_at)                                                              as last_opened_at
  from dated
  group by month
),

waits as (
  select
    c.month,
    max(r.reply_hours) filter (where r.place = (c.tickets + 1) / 2)             as median_hours,   -- ceiling of 50 %
    max(r.reply_hours) filter (where r.place = (c.tickets * 9 + 9) / 10)        as p90_hours       -- ceiling of 90 %
  from counts c
  join ranked r on r.month = c.month
  group by c.month
)

select
  c.month,                                                                                      -- its first day, by the brand's calendar
  c.tickets,
  c.complaints,
  c.replied,                                                                                    -- tickets somebody has answered
  w.median_hours                                          as median_first_reply_hours,
  w.p90_hours                                             as p90_first_reply_hours,
  case when c.last_opened_at + cast($resolve_within as interval) <= $as_of then
    cast(cast(c.resolved_in_time as decimal(18, 4)) / c.tickets as decimal(6, 4)) end           as resolved_in_time,
  cast(cast(c.resolved as decimal(18, 4)) / c.tickets as decimal(6, 4))                         as resolved_so_far,
  c.rated                                                 as satisfaction_n,                    -- the people satisfaction rests on
  cast(cast(c.rated_good as decimal(18, 4)) / nullif(c.rated, 0) as decimal(6, 4))              as satisfaction_good
from counts c
join waits w on w.month = c.month
order by c.month
