/* ---
key = "order_id"
audits = ["not_null(ordered_at)", "not_null(total)"]
--- */
-- The orders of data-in/orders.csv.
-- No column `status` in your file? Write `'paid' as status,` in place of the case. No `currency`? Write
-- `$brand_currency as currency,`. And delete the column's line in config/sources/csv.toml.
-- Several currencies? Then the program needs rates: add a stream with currency, date and rate to csv.toml, and a
-- file sql/staging/csv__fx_rates.sql that selects them; it says so if one is missing.
select
  case
    when lower(btrim(status)) in ('refunded', 'returned') then 'refunded'
    when lower(btrim(status)) in ('cancelled', 'canceled', 'failed', 'voided') then 'cancelled'
    when lower(btrim(status)) in ('pending', 'open', 'unpaid', 'on-hold') then 'pending'
    else 'paid'                                                              -- paid, completed, shipped, …, or empty
  end as status,
  coalesce(nullif(upper(btrim(currency)), ''), $brand_currency) as currency,
  total,                                                                     -- the program makes it total_base
  ordered_at,
  coalesce(nullif(btrim(customer_id), ''), 'guest:order-' || order_id) as customer_id,   -- a guest we know nothing about
  order_id
from csv__orders
where ordered_at <= $as_of
