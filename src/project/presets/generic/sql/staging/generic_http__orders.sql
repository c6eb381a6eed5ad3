/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(status)"]
--- */
-- Orders as they were placed. A refund never edits an order: it is a signed sum beside it, and only money
-- that had gone back by `as_of` counts. Everything else in this project asks for `status = 'paid'`; turn your system's words into these.
-- Amounts stay in the currency of the order; the program adds them up in the brand's (`total_base`, …) by
-- the rate of the day, and says so where a rate is missing.
with

refund_lines as (
  select id, unnest(refunds) as refund
  from generic_http__orders
),

refunds as (
  select
    id,
    sum(abs(refund['amount'])) filter (where refund['at'] <= $as_of)  as refunded,
    bool_or(refund['at'] > $as_of)                                    as more_to_come  -- only when an earlier date is looked at again
  from refund_lines
  group by id
)

select
  'generic_http:' || o.id as order_id,                 -- so that those of two systems never meet
  coalesce(
    o.customer_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),  -- guests belong to their address, see generic_http__customers.sql
    'guest:order-' || o.id                                              -- no address either: nobody to write to, but a sale
  ) as customer_id,
  o.ordered_at,
  case
    when o.status not in ('paid', 'partially_refunded', 'refunded') then o.status       -- cancelled, pending
    when o.status = 'refunded' and not coalesce(r.more_to_come, false) then 'refunded'  -- the shop says so, whatever the sums
    when o.total > 0 and r.refunded >= o.total then 'refunded'                          -- all of it went back
    else 'paid'                                                                         -- also when only a part went back
  end as status,
  o.delivered_at,                                     -- null until the carrier says so
  o.currency,
  o.total,                                            -- what the customer was charged, after the discount
  coalesce(o.discount, 0) as discount,
  -coalesce(r.refunded, 0) as refunded,               -- zero or less
  nullif(btrim(o.coupon_code), '') as coupon_code,
  o.channel
from generic_http__orders o
left join refunds r on r.id = o.id
where o.ordered_at <= $as_of
