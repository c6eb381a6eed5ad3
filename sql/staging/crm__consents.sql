/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- Every yes and every no a person ever gave, with its time. Nothing is overwritten: the newest answer for a
-- channel and purpose counts, and the older ones prove what was true when a mail went out.
select
  contact_id                                                as customer_id,
  lower(channel)                                            as channel,     -- email, phone, post
  lower(purpose)                                            as purpose,     -- marketing, service
  first_value(lower(status) order by updated_at desc, id)   as status,      -- granted, denied; of two answers in one instant the later record
  at
from crm__consents
where at <= $as_of
group by contact_id, lower(channel), lower(purpose), at
