/* ---
key = ["customer_id", "channel", "purpose", "at"]
--- */
-- What people answered at the checkout, where it asks whether they want to hear from the shop. Stripe keeps no other consent, and without
-- a yes the program sends no marketing.
with

answers as (
  select
    coalesce(customer_id, 'guest:' || left(encode(sha256(lower_email(email)), 'hex'), 24)) as customer_id,   -- as in stripe__customers.sql
    promotions,
    created_at
  from stripe__checkout_sessions
  where promotions in ('opt_in', 'opt_out') and created_at <= $as_of
)

select
  customer_id,
  'email'                                                               as channel,
  'marketing'                                                           as purpose,
  case when max(promotions) = 'opt_in' then 'granted' else 'denied' end as status,   -- `opt_out` is the greater: of two in one second, the no
  created_at                                                            as at
from answers
where customer_id is not null
group by customer_id, created_at
