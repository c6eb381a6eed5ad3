-- Every yes and every no a person ever gave, with its time. Nothing is overwritten: the newest answer for a
-- channel and purpose counts, and the older ones prove what was true when a mail went out.
-- No key and no audits here, on purpose: one broken record must not keep everybody's newest answers from
-- being known. An answer without its time counts as older than any other; one without a person, a channel
-- or a purpose is left out by the program, which says how many there were.
select
  contact_id                                                as customer_id,
  lower(channel)                                            as channel,     -- email, phone, post
  lower(purpose)                                            as purpose,     -- marketing, service
  first_value(lower(status) order by updated_at desc, id)   as status,      -- granted, denied; of two answers in one instant the later record
  at
from crm__consents
where at is null or at <= $as_of
group by contact_id, lower(channel), lower(purpose), at
