/* ---
key = "order_id"
audits = ["not_null(customer_id)", "not_null(ordered_at)", "not_null(status)", "not_null(total)"]
--- */
-- One row a payment; of several attempts at one the best counts. A refund never edits an order: it is a signed sum beside it, and only
-- money that had gone back by `as_of` counts. Disputes are not read: a lost one looks like a sale.
--
-- Stripe counts in the smallest unit of each currency. What a payment was worth to you it tells itself, in the currency your account is
-- settled in; where that is the brand's, no table of rates is needed. Does your shop system also list these sales? Then keep only one of the
-- two files, or each counts twice.
with

-- How many of the smallest unit make one. Everywhere else, a hundred; also in ISK and UGX, which have no smaller unit any more.
units as (
  select * from (values
    ('BIF', 1), ('CLP', 1), ('DJF', 1), ('GNF', 1), ('JPY', 1), ('KMF', 1), ('KRW', 1), ('MGA', 1), ('PYG', 1), ('RWF', 1), ('VND', 1),
    ('VUV', 1), ('XAF', 1), ('XOF', 1), ('XPF', 1), ('BHD', 1000), ('JOD', 1000), ('KWD', 1000), ('OMR', 1000), ('TND', 1000)
  ) as units (currency, per)
),

-- What the list said when it was read, or a later event.
charge_versions as (
  select
    id, payment_intent, customer_id, coalesce(email, receipt_email) as email, amount, amount_captured, currency, status, captured,
    refunded, created_at, _pulled_at as seen_at, id as version
  from stripe__charges

  union all

  select
    charge_id, payment_intent, customer_id, coalesce(email, receipt_email), amount, amount_captured, currency, status, captured,
    refunded, created_at, at + interval '1 hour', id                       -- as in stripe__customers.sql
  from stripe__charge_events
),

charges as (
  select
    *,
    row_number() over (partition by id order by seen_at desc, refunded desc, captured desc, version desc) as nth
  from charge_versions
),

payments as (
  select
    *,
    row_number() over (
      partition by coalesce(payment_intent, id)
      order by case status when 'succeeded' then 0 when 'pending' then 1 else 2 end, created_at desc, id
    ) as best
  from charges
  where nth = 1 and created_at <= $as_of
),

refund_versions as (
  select id, charge, amount, status, balance_transaction, created_at, _pulled_at as seen_at, id as version
  from stripe__refunds

  union all

  select refund_id, charge, amount, status, balance_transaction, created_at, at + interval '1 hour', id
  from stripe__refund_events
),

refund_states as (
  select *, row_number() over (partition by id order by seen_at desc, version desc) as nth
  from refund_versions
),

-- What a charge or refund was worth in the brand's currency.
worth as (
  select
    b.source,
    cast(sum(b.amount) as decimal(18, 4)) / coalesce(max(u.per), 100) as base
  from stripe__balance_transactions b
  left join units u on u.currency = upper(b.currency)
  where upper(b.currency) = upper($brand_currency) and b.type in ('charge', 'payment', 'refund', 'payment_refund')
  group by b.source
),

-- Money that went back, or is on its way. A reservation that is let go has a refund too, without a movement of money.
refunds as (
  select
    r.charge,
    sum(r.amount)                                              as amount,
    case when count(w.base) = count(*) then sum(w.base) end    as base
  from refund_states r
  left join worth w on w.source = r.id
  where r.nth = 1 and r.created_at <= $as_of
    and (r.status = 'pending' or (r.status = 'succeeded' and r.balance_transaction is not null))
  group by r.charge
),

orders as (
  select
    coalesce(p.payment_intent, p.id)                                                  as id,
    p.customer_id,
    p.email,
    p.created_at,
    case
      when p.status = 'failed' or (p.refunded and not p.captured) then 'cancelled'   -- refused, or a reservation that was let go
      when p.status = 'pending' or not p.captured then 'pending'
      when r.amount >= p.amount_captured and p.amount_captured > 0 then 'refunded'    -- all of it went back
      else 'paid'                                                                     -- also when only a part went back
    end                                                                               as status,
    upper(p.currency)                                                                 as currency,
    cast(case when p.captured then p.amount_captured else p.amount end as decimal(18, 4)) / coalesce(u.per, 100) as total,
    w.base                                                                            as total_base,
    -cast(coalesce(r.amount, 0) as decimal(18, 4)) / coalesce(u.per, 100)             as refunded,
    r.base                                                                            as refunded_base
  from payments p
  left join refunds r on r.charge = p.id
  left join worth w on w.source = p.id
  left join units u on u.currency = upper(p.currency)
  where p.best = 1
),

-- For payments that brought nothing (yet), and refunds on their way: what their currency was worth on the whole.
rates as (
  select currency, cast(cast(sum(total_base) as double) / cast(sum(total) as double) as decimal(18, 8)) as rate
  from orders
  where total_base is not null and total > 0
  group by currency
)

select
  'stripe:' || o.id                                                        as order_id,
  coalesce(
    o.customer_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),    -- guests belong to their address, see stripe__customers.sql
    'guest:order-' || o.id                                                -- no address either: nobody to write to, but a sale
  )                                                                        as customer_id,
  o.created_at                                                             as ordered_at,
  o.status,
  o.currency,
  o.total,
  coalesce(o.total_base, o.total * r.rate)                                 as total_base,      -- null: by the rates of the day, if there are any
  o.refunded,                                                                                  -- zero or less
  coalesce(o.refunded_base, o.refunded * r.rate)                           as refunded_base
from orders o
left join rates r on r.currency = o.currency
