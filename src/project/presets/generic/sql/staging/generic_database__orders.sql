/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(total)"]
--- */
-- Orders as the database tells of them. Turn its words into paid, refunded, cancelled and pending; one nobody knows stays as it is, and such
-- an order is no purchase.
select
  'generic_database:' || id                              as order_id,      -- so that those of two systems never meet
  coalesce(customer_id, 'guest:order-' || id)            as customer_id,   -- a guest we know nothing about
  ordered_at,
  case lower(btrim(status))
    when 'complete' then 'paid'
    when 'canceled' then 'cancelled'
    when 'returned' then 'refunded'
    when 'open' then 'pending'
    else lower(btrim(status))
  end                                                    as status,
  coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) as currency,
  total                                                                    -- the program makes it total_base
from generic_database__orders
where ordered_at <= $as_of
