/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(status)"]
--- */
-- Orders as they were placed, without test orders and deleted ones. Amounts are in the shop's own currency, also where
-- the customer saw another one. A refund never edits an order: it is a signed sum beside it, and only money that had
-- gone back by `as_of` counts.
with

refund_lines as (
  select id, unnest(refunds) as refund
  from shopify__orders
),

-- Only when an earlier date is looked at again.
to_come as (
  select id, sum(refund['sum']['shop']['amount']) as amount
  from refund_lines
  where refund['at'] > $as_of
  group by id
),

parcels as (
  select id, unnest(fulfillments) as parcel
  from shopify__orders
),

arrivals as (
  select id, max(parcel['delivered_at']) as delivered_at
  from parcels
  group by id
),

orders_so_far as (
  select
    o.*,
    lower(o.financial_status)                                  as paid,
    coalesce(o.refunded, 0) - coalesce(c.amount, 0)            as gone_back,
    c.amount is not null                                       as more_to_come
  from shopify__orders o
  left join to_come c on c.id = o.id
  where o.ordered_at <= $as_of and not coalesce(o.test, false) and o._deleted_at is null
)

select
  'shopify:' || o.order_id                                              as order_id,
  coalesce(
    o.customer_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),  -- guests belong to their address, see shopify__customers.sql
    'guest:order-' || o.order_id                                        -- no address either: nobody to write to, but a sale
  )                                                                     as customer_id,
  o.ordered_at,
  case
    when o.cancelled_at <= $as_of or o.paid in ('voided', 'expired') then 'cancelled'
    when o.paid in ('pending', 'authorized', 'partially_paid') or o.paid is null then 'pending'
    when o.paid = 'refunded' and not o.more_to_come then 'refunded'     -- Shopify says so, whatever the sums
    when o.total > 0 and o.gone_back >= o.total then 'refunded'
    else 'paid'                                                         -- also when only a part went back
  end                                                                   as status,
  case when a.delivered_at <= $as_of then a.delivered_at end            as delivered_at,   -- where the carrier tells Shopify
  o.currency,
  o.total,
  coalesce(o.discount, 0)                                               as discount,
  -o.gone_back                                                          as refunded,       -- zero or less
  nullif(btrim(o.discount_codes[1]), '')                                as coupon_code,
  case
    when o.source_name = 'pos' then 'store'
    when o.source_name in ('iphone', 'android') then 'app'
    else o.source_name                                                  -- web, shopify_draft_order, an app's number
  end                                                                   as channel
from orders_so_far o
left join arrivals a on a.id = o.id
