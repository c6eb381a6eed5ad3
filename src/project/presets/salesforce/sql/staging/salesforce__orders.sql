/* ---
key = "order_id"
audits = ["not_null(ordered_at)"]
--- */
-- Orders. An activated one counts as paid, a draft is pending. Words of your own for `status` that mean cancelled or sent back: add them
-- below; see yours with `perennial query "select status, status_code, count(*) from salesforce__orders group by status, status_code"`.
-- A reduction order has a negative total: money that went back, not an order.
select
  'salesforce:' || id                                     as order_id,
  coalesce(contact_id, 'guest:order-' || id)              as customer_id,   -- nobody to write to, but a sale
  case
    when ordered_on = cast(created_at as date) then created_at
    else cast(ordered_on as timestamp)                                      -- of other days Salesforce keeps no hour
  end                                                     as ordered_at,
  case
    when status_code in ('Canceled', 'Cancelled', 'Expired') or lower(status) in ('cancelled', 'canceled') then 'cancelled'
    when lower(status) in ('refunded', 'returned') then 'refunded'
    when status_code = 'Draft' then 'pending'
    else 'paid'
  end                                                     as status,
  $brand_currency                                         as currency,      -- with several: upper(currency)
  total                                                                     -- the program makes it total_base
from salesforce__orders
where not is_deleted and _deleted_at is null and ordered_on <= cast($as_of as date)

-- Opportunities in place of orders: one that was won is one. Put this query in place of the one above.
--
-- select
--   'salesforce:' || id                          as order_id,
--   coalesce(contact_id, 'guest:order-' || id)   as customer_id,
--   cast(closed_on as timestamp)                 as ordered_at,
--   'paid'                                       as status,
--   $brand_currency                              as currency,
--   amount                                       as total
-- from salesforce__opportunities
-- where is_won and not is_deleted and _deleted_at is null and closed_on <= cast($as_of as date)
