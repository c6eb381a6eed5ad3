-- WooCommerce itself asks nobody whether they want letters; a plugin does, and keeps the answer in `meta_data` of the
-- account, or of a guest's order. Here it is the one of Mailchimp for WooCommerce: '1' is a yes. Another plugin? Put its
-- key in place of `mailchimp_woocommerce_is_subscribed`, and its words below; look for them with
-- `perennial query "select distinct key from (select unnest(meta_data)['key'] as key from woocommerce__customers)"`.
-- No plugin asks? Delete this file: then only service messages (an apology, say) can be sent, until you add the
-- consents you hold.
-- When an account is deleted, a yes goes with it; a no stays.
with

notes as (
  select
    id                                 as customer_id,
    coalesce(modified_at, created_at)  as at,               -- when the account last changed: the answer is no younger
    id                                 as said_in,
    _deleted_at is not null            as deleted,
    unnest(meta_data)                  as note
  from woocommerce__customers

  union all

  select
    'guest:' || left(encode(sha256(lower_email(email)), 'hex'), 24) as customer_id,   -- as in woocommerce__customers.sql
    ordered_at                                                      as at,
    id                                                              as said_in,
    false                                                           as deleted,
    unnest(meta_data)                                               as note
  from woocommerce__orders
  where coalesce(nullif(customer_id, '0'), '') = '' and lower_email(email) is not null
    and lower_email(email) not like '%@site.invalid' and _deleted_at is null
),

answers as (
  select
    customer_id, at, said_in, deleted,
    lower(btrim(note['value'], '"'))                                                          as said,
    lower(btrim(note['value'], '"')) in ('1', 'true', 'yes', 'subscribed')                    as agreed
  from notes
  where note['key'] = 'mailchimp_woocommerce_is_subscribed' and at <= $as_of
)

select
  customer_id,
  'email'                                                                              as channel,
  'marketing'                                                                          as purpose,
  first_value(case when agreed then 'granted' else 'denied' end order by said_in desc) as status,
  at
from answers
where said <> '' and said not in ('pending', 'transactional')                          -- not asked, or the link was not clicked yet
  and not (deleted and agreed)
group by customer_id, at
