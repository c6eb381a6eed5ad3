-- Who said no to mail: "Email Opt Out". It tells no time, and holds as of the contact's last change, so that it stands above every yes
-- before. Salesforce knows no yes of its own: an empty box is no answer, and without a yes the program sends no marketing. Where you keep
-- one in fields of your own, name them in config/sources/salesforce.toml and use the second query; else bring the yeses you hold from the
-- system that has them.
select
  id                          as customer_id,
  'email'                     as channel,
  'marketing'                 as purpose,
  'denied'                    as status,
  least(updated_at, $as_of)   as at
from salesforce__contacts
where email_optout

-- union all
--
-- select
--   id            as customer_id,
--   'email'       as channel,
--   'marketing'   as purpose,
--   'granted'     as status,
--   opted_in_at   as at
-- from salesforce__contacts
-- where opted_in and opted_in_at <= $as_of
