-- What customers allowed by email. Shopify keeps only the last answer. NOT_SUBSCRIBED was never asked, and PENDING has
-- not clicked the link yet: neither is an answer, and without a yes the program sends no marketing. An address that
-- Shopify found INVALID is written to no more. When a customer is deleted, a yes goes with them; a no stays.
select
  id                                                                                as customer_id,
  'email'                                                                           as channel,
  'marketing'                                                                       as purpose,
  case when upper(marketing_state) = 'SUBSCRIBED' then 'granted' else 'denied' end  as status,
  coalesce(marketing_updated_at, created_at)                                        as at    -- nobody noted when: no earlier than they came
from shopify_rest__customers
where upper(marketing_state) in ('SUBSCRIBED', 'UNSUBSCRIBED', 'INVALID', 'REDACTED')
  and coalesce(marketing_updated_at, created_at) <= $as_of
  and (_deleted_at is null or upper(marketing_state) <> 'SUBSCRIBED')
