/* ---
key = "order_id"
audits = ["unique(order_id)", "not_null(order_id)", "not_null(customer_id)", "not_null(ordered_at)"]
--- */
-- Orders as they were placed. A refund never edits an order: it is a signed sum beside it, and only money
-- that had gone back by `as_of` counts. Everything later in this project asks `status = 'paid'`.
with

-- What had gone back to the customer, per order.
refund_lines as (
  select id, unnest(refunds) as refund
  from shop__orders
),

refunds as (
  select
    id,
    sum(abs(refund['amount'])) filter (where refund['at'] <= $as_of)  as refunded,
    bool_or(refund['at'] > $as_of)                                    as more_to_come  -- only when an earlier date is looked at again
  from refund_lines
  group by id
),

-- The rate of a day is the newest published on or before it: banks rest on Sundays, customers do not.
-- Days and rates are laid into one calendar per currency, and each day looks back to the last rate.
calendar as (
  select currency, cast(ordered_at as date) as day, cast(null as decimal(18, 8)) as rate
  from shop__orders
  group by currency, cast(ordered_at as date)

  union all

  select currency, date as day, rate
  from shop__fx_rates
),

known_rates as (
  select currency, day, max(rate) as rate
  from calendar
  group by currency, day
),

day_rates as (
  select
    currency,
    day,
    case
      when currency = $brand_currency then cast(1 as decimal(18, 8))
      else last_value(rate) ignore nulls over (
             partition by currency order by day rows between unbounded preceding and current row)
    end as rate
  from known_rates
)

select
  o.id as order_id,
  coalesce(
    o.customer_id,
    'guest:' || left(encode(sha256(lower_email(o.email)), 'hex'), 24),  -- guests belong to their address
    'guest:order-' || o.id                                              -- no address either: nobody we could write to, but a sale
  ) as customer_id,
  o.ordered_at,
  case
    when o.status not in ('paid', 'partially_refunded', 'refunded') then o.status  -- cancelled, pending
    when o.total > 0 and r.refunded >= o.total then 'refunded'                     -- all of it went back
    when o.status = 'refunded' and not coalesce(r.more_to_come, false) then 'refunded'  -- the shop says so, whatever the sums
    else 'paid'                                                                    -- also when a part went back
  end as status,
  o.delivered_at,                                                                  -- null until the carrier says so
  o.currency,
  o.total,                                                                         -- what the customer was charged, after discount
  cast(null as decimal(18, 4)) as total_base,                                      -- filled by the program, which also misses a rate aloud
  cast(coalesce(o.discount, 0) * d.rate as decimal(18, 4)) as discount_base,
  cast(-coalesce(r.refunded, 0) * d.rate as decimal(18, 4)) as refunded_base,      -- zero or less
  nullif(btrim(o.coupon_code), '') as coupon_code,
  o.channel
from shop__orders o
left join refunds r on r.id = o.id
left join day_rates d on d.currency = o.currency and d.day = cast(o.ordered_at as date)
where o.ordered_at <= $as_of
