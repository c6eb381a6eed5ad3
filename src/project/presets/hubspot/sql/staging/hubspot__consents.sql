-- Who agreed to marketing mail, by two witnesses. HubSpot's list of subscription changes tells every yes and no with its time. The
-- contact's own "unsubscribed from all email" tells no time; it holds as of the contact's last change, so that it stands above every yes
-- before. A contact with neither was never asked: without a yes the program sends no marketing.
-- Only some of your subscription types are marketing? Name them where `subscriptionId` is read below: a no to all of HubSpot's mail
-- has none. No scope for the list? Then delete all but the last query, and add the yeses you hold by another source.
with

-- The same words as in hubspot__customers.sql, and whether that contact is gone.
addresses as (
  select
    lower_email(address) as address,
    first_value(id order by gone, updated_at desc, id) as contact_id,
    bool_and(gone) as gone
  from (
    select id, _deleted_at is not null as gone, updated_at, unnest(string_to_array(concat_ws(';', email, additional_emails), ';')) as address
    from hubspot__contacts
    union all
    select id, true as gone, archived_at as updated_at, email as address
    from hubspot__archived_contacts
  )
  where lower_email(address) is not null
  group by lower_email(address)
),

changes as (
  select recipient, at, unnest(changes) as change
  from hubspot__subscription_changes
  where at <= $as_of
),

answers as (
  select
    recipient,
    at,
    case when change['change'] = 'SUBSCRIBED' then 'granted' else 'denied' end as status
  from changes
  where change['change'] in ('SUBSCRIBED', 'UNSUBSCRIBED', 'REPORTED_SPAM')
    -- and (change['subscriptionId'] is null or change['subscriptionId'] in ('4711'))
)

select
  coalesce(a.contact_id, 'guest:' || left(encode(sha256(lower_email(r.recipient)), 'hex'), 24)) as customer_id,
  'email'      as channel,
  'marketing'  as purpose,
  r.status,
  r.at
from answers r
left join addresses a on a.address = lower_email(r.recipient)
where lower_email(r.recipient) is not null
  and (r.status = 'denied' or not a.gone)   -- the yes of somebody the CRM no longer has is none, the no stays

union all

select
  id                          as customer_id,
  'email'                     as channel,
  'marketing'                 as purpose,
  'denied'                    as status,
  least(updated_at, $as_of)   as at
from hubspot__contacts
where lower(email_optout) = 'true'
