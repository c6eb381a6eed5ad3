-- Every yes with its time, and every no: who unsubscribed, bounced, complained, or was suppressed by hand. A no stands above a yes of the
-- same profile whatever their times, because Klaviyo would not write to that person either.
-- Whoever left one list counts as having said no: the program knows one kind of marketing mail. Do your letters go by one list only? Then
-- name it below where `list_id` is read.
with

refusals as (
  select id, suppression['timestamp'] as at
  from (select id, unnest(suppressions) as suppression from klaviyo__profiles)

  union all

  select id, suppression['timestamp'] as at
  from (select id, unnest(list_suppressions) as suppression from klaviyo__profiles)
  -- where suppression['list_id'] = 'Y6nRLr'

  union all

  select id, coalesce(consent_at, updated_at) as at
  from klaviyo__profiles
  where consent = 'UNSUBSCRIBED' or not can_receive
)

select
  id             as customer_id,
  'email'        as channel,
  'marketing'    as purpose,
  'granted'      as status,
  coalesce(consent_at, created_at) as at
from klaviyo__profiles
where consent = 'SUBSCRIBED' and coalesce(consent_at, created_at) <= $as_of
  and _deleted_at is null   -- the yes of a deleted profile is none, the no stays

union all

select
  p.id           as customer_id,
  'email'        as channel,
  'marketing'    as purpose,
  'denied'       as status,
  least(greatest(max(r.at), max(coalesce(p.consent_at, p.created_at))), $as_of) as at
from klaviyo__profiles p
join refusals r on r.id = p.id
group by p.id
