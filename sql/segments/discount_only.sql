/* ---
key = "customer_id"
params = { min_orders = 2, min_quiet_days = 14, max_quiet_days = 365 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "rows(0, 500000)", "change(40%, 20)"]
--- */
-- Decides whom we train no further: people who came back and have paid the full price not once. Another code would
-- teach them to wait for the next one; they hear of something else, what is new or what goes with what they
-- have. Twice is enough to stop, for to be wrong costs them one code; to call it a habit, ask for more orders.
--
-- An order is discounted when money was taken off or a code was used, also one that only spares the postage.
-- An order that cost nothing without either (a replacement) says nothing about its buyer and does not count.
-- One order at the full price, and they have shown that they need no discount. For two weeks after an order
-- there is peace, and after a year of silence there is nothing left to stop.
with

bargains as (
  select
    customer_id,
    count(*)                         as orders,
    sum(coalesce(discount_base, 0))  as saved,
    sum(total_base)                  as paid,
    max(ordered_at)                  as last_at
  from orders
  where status = 'paid'
    and total_base >= 0
    and (total_base > 0 or coalesce(discount_base, 0) <> 0 or coupon_code is not null)
  group by customer_id
  having count(*) >= $min_orders
    and count(*) filter (where coalesce(discount_base, 0) = 0 and coupon_code is null) = 0
)

select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.last_order_id,                                                       -- the occasion: the latest of these orders
  f.last_order_at,
  f.quiet_days,
  b.orders,                                                              -- all of them discounted
  cast(b.saved as decimal(18, 4))                 as saved_base,         -- what was taken off in all
  cast(b.saved * 100 / nullif(b.paid + b.saved, 0)
       as decimal(5, 1))                          as saved_percent,      -- of what the goods would have cost
  f.total_base,                                                          -- what they have been worth so far
  $brand_currency                                 as currency,           -- of both
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,                                                        -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  f.tier
from bargains b
join customer_features f on f.customer_id = b.customer_id
left join next_product n on n.customer_id = b.customer_id
where f.quiet_days > $min_quiet_days
  and f.quiet_days <= $max_quiet_days
  and not f.open_complaint
