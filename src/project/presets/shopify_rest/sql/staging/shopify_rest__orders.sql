/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(status)"]
--- */
-- Orders as they were placed, without test orders and deleted ones. Amounts are in the shop's own currency, also where
-- the customer saw another one. A refund never edits an order: it is a signed sum beside it, and only money that had
-- gone back by `as_of` counts.
with

refund_lines as (
  select id, currency, total, shown_total, unnest(refunds) as refund
  from shopify_rest__orders
),

payments as (
  select
    id, currency, total, shown_total,
    refund['created_at']           as at,
    unnest(refund['transactions']) as payment
  from refund_lines
),

-- Money goes back in the currency the customer paid in; the order says what that was worth to the shop, to the cent.
refunds as (
  select
    id,
    at,
    case
      when payment['currency'] = currency or coalesce(shown_total, 0) = 0 then payment['amount']
      else cast(round(cast(payment['amount'] as double) * cast(total as double) / cast(shown_total as double), 2) as decimal(18,4))
    end as amount
  from payments
  where payment['kind'] = 'refund' and payment['status'] = 'success'
),

gone_back as (
  select
    id,
    sum(amount) filter (where at <= $as_of)  as amount,
    bool_or(at > $as_of)                     as more_to_come   -- only when an earlier date is looked at again
  from refunds
  group by id
),

parcels as (
  select id, unnest(fulfillments) as parcel
  from shopify_rest__orders
),

-- REST has no time of its own for that: the parcel's last change is taken.
arrivals as (
  select id, max(parcel['updated_at']) as delivered_at
  from parcels
  where parcel['shipment_status'] = 'delivered'
  group by id
),

orders_so_far as (
  select
    o.*,
    lower(o.financial_status)         as paid,
    coalesce(g.amount, 0)             as gone_back,
    coalesce(g.more_to_come, false)   as more_to_come
  from shopify_rest__orders o
  left join gone_back g on g.id = o.id
  where o.ordered_at <= $as_of and not coalesce(o.test, false) and o._deleted_at is null
)

select
  'shopify_rest:' || o.id                                               as order_id,
  coalesce(
    o.customer_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),  -- guests belong to their address, see shopify_rest__customers.sql
    'guest:order-' || o.id                                              -- no address either: nobody to write to, but a sale
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
  nullif(btrim(o.discount_codes[1]['code']), '')                        as coupon_code,
  case
    when o.source_name = 'pos' then 'store'
    when o.source_name in ('iphone', 'android') then 'app'
    else o.source_name                                                  -- web, shopify_draft_order, an app's number
  end                                                                   as channel
from orders_so_far o
left join arrivals a on a.id = o.id
