/* ---
key = "order_id"
audits = ["not_null(ordered_at)", "not_null(total)"]
--- */
-- The orders of data-in/orders.csv. A line with a negative total is money that went back, not an order.
--
-- A word nobody recognises stays as it is written, and such an order is no purchase. See what your file says
-- with `perennial query "select status, count(*) from orders group by status"`, and add your words below.
-- A refund is told in one way: either the order's status says so, or a line with a negative total does. Where
-- your file has both, the money would go back twice: then take 'refunded' out of the list of refunds and put
-- it with 'paid'.
-- No column `status` in your file? Write `'paid' as said` where it is read. No `currency`? Write
-- `$brand_currency as currency,`. And delete the column's line in config/sources/csv.toml.
-- Several currencies? Then the program needs rates: add a stream with currency, date and rate to csv.toml, and a
-- file sql/staging/csv__fx_rates.sql that selects them; it says so if one is missing.
with

orders_so_far as (
  select
    *,
    btrim(coalesce(status, '')) as said
  from csv__orders
  where ordered_at <= $as_of
),

-- `On-Hold`, `on_hold` and WooCommerce's `wc-on-hold` are one word.
worded as (
  select
    *,
    regexp_replace(translate(lower(said), '-_', '  '), '^wc ', '') as word
  from orders_so_far
)

select
  case
    when word = '' or word in (
      'paid', 'partially refunded', 'payment accepted', 'payment received', 'processing', 'processed', 'complete',
      'completed', 'done', 'fulfilled', 'partially fulfilled', 'packed', 'awaiting fulfillment', 'awaiting shipment',
      'awaiting pickup', 'ready for pickup', 'picked up', 'collected', 'dispatched', 'sent', 'shipped',
      'partially shipped', 'in transit', 'delivered'
    ) then 'paid'
    when word in (
      'refunded', 'refund', 'returned', 'return', 'reversed', 'charged back', 'chargeback'
    ) then 'refunded'
    when word in (
      'cancelled', 'canceled', 'void', 'voided', 'failed', 'payment failed', 'payment error', 'error', 'declined',
      'denied', 'rejected', 'expired', 'abandoned', 'deleted', 'trash'
    ) then 'cancelled'
    when word in (
      'pending', 'pending payment', 'payment pending', 'awaiting payment', 'open', 'new', 'unpaid', 'partially paid',
      'authorized', 'authorised', 'on hold', 'holded', 'payment review', 'disputed', 'draft', 'checkout draft', 'incomplete'
    ) then 'pending'
    else said
  end as status,
  coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) as currency,
  total,                                                                     -- the program makes it total_base
  ordered_at,
  coalesce(nullif(btrim(customer_id), ''), 'guest:order-' || order_id) as customer_id,   -- a guest we know nothing about
  order_id
from worded
