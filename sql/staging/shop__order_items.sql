/* ---
key = ["order_id", "line"]
audits = ["not_null(order_id)", "not_null(line)"]
--- */
-- One row a line of an order, with how much of it came back. `quantity - returned` is what somebody kept.
with

lines as (
  select
    id,
    currency,
    cast(ordered_at as date) as day,
    unnest(line_items) as item
  from shop__orders
  where ordered_at <= $as_of
),

refund_lines as (
  select id, unnest(refunds) as refund
  from shop__orders
),

-- Refunds that name a line say how many pieces came back; refunds without a line are money, not goods.
returns as (
  select
    id,
    refund['line'] as line,
    sum(refund['quantity']) as returned
  from refund_lines
  where refund['at'] <= $as_of and refund['line'] is not null
  group by id, refund['line']
),

-- The newest rate on or before each day, as in shop__orders.sql.
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
  l.id                                                       as order_id,
  l.item['line']                                             as line,
  l.item['product_id']                                       as product_id,       -- null for a line that is no product: wrapping, a tip
  l.item['quantity']                                         as quantity,
  cast(l.item['unit_price'] * d.rate as decimal(18, 4))      as unit_price_base,
  least(coalesce(r.returned, 0), l.item['quantity'])         as returned
from lines l
left join returns r on r.id = l.id and r.line = l.item['line']
left join day_rates d on d.currency = l.currency and d.day = l.day
