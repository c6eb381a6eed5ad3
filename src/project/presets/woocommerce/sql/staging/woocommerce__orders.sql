/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(status)"]
--- */
-- Orders as they were placed, without the trash. A refund never edits an order: it is a signed sum beside it, and only
-- money that had gone back by `as_of` counts.
-- A status that a plugin adds and nobody told us of stays as it is and is no purchase: see which you have with
-- `perennial query "select status, count(*) from orders group by status"`, and add those that are below.
-- Orders in several currencies? Then the program needs rates: add a stream with currency, date and rate, and a file
-- sql/staging/woocommerce__fx_rates.sql that selects them; it says so if one is missing.
with

gone_back as (
  select
    order_id,
    sum(amount) filter (where refunded_at <= $as_of)  as amount,
    bool_or(refunded_at > $as_of)                     as more_to_come   -- only when an earlier date is looked at again
  from woocommerce__refunds
  where _deleted_at is null
  group by order_id
),

orders_so_far as (
  select
    o.*,
    lower(o.status)                  as word,
    coalesce(g.amount, 0)            as gone_back,
    coalesce(g.more_to_come, false)  as more_to_come
  from woocommerce__orders o
  left join gone_back g on g.order_id = o.id
  left join woocommerce__trash t on t.id = o.id and t.modified_at >= o.modified_at   -- one that was taken out again changed later
  where o.ordered_at <= $as_of and o._deleted_at is null and t.id is null
)

select
  'woocommerce:' || id                                                as order_id,
  coalesce(
    nullif(nullif(customer_id, '0'), ''),
    case
      when lower_email(email) not like '%@site.invalid'               -- what WordPress writes where it erased somebody
        then 'guest:' || left(encode(sha256(lower_email(email)), 'hex'), 24)   -- guests belong to their address, see woocommerce__customers.sql
    end,
    'guest:order-' || id                                              -- no address either: nobody to write to, but a sale
  )                                                                   as customer_id,
  ordered_at,
  case
    when word in ('cancelled', 'failed', 'trash') then 'cancelled'
    when word in ('pending', 'on-hold', 'checkout-draft', 'auto-draft') then 'pending'
    when word = 'refunded' and not more_to_come then 'refunded'       -- the shop says so, whatever the sums
    when total > 0 and gone_back >= total then 'refunded'
    when word in ('processing', 'completed', 'refunded', 'partially-refunded', 'shipped', 'partial-shipped', 'delivered') then 'paid'
    else status
  end                                                                 as status,
  currency,
  total,
  coalesce(discount_total, 0) + coalesce(discount_tax, 0)             as discount,
  -gone_back                                                          as refunded,       -- zero or less
  nullif(btrim(coupon_lines[1]['code']), '')                          as coupon_code,
  case
    when created_via in ('checkout', 'store-api') then 'web'
    when created_via = 'pos-rest-api' then 'store'
    else nullif(created_via, '')                                      -- admin, rest-api, a plugin's name
  end                                                                 as channel
from orders_so_far
