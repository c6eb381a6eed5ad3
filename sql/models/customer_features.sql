/* ---
key = "customer_id"
params = { silver_orders = 3, silver_value = 100, gold_orders = 6, gold_value = 250, platinum_orders = 15, platinum_value = 800 }
audits = ["not_null(orders)", "not_null(tier)", "change(40%, 20)", "accepted(tier, 'member', 'silver', 'gold', 'platinum')"]
--- */
-- What we know about each customer in one row: every segment starts here.
--
-- An order counts when it was paid and not wholly refunded; its worth is what the shop kept of it, in the
-- brand's currency. An order that cost nothing (a voucher, a replacement) counts too, and is worth nothing.
-- A row with a negative total is money that went back: it lowers the worth, but it is no order and no visit.
-- `quiet_days` is kinder: any order that was not cancelled breaks the silence, also one still waiting for
-- its payment. Days are calendar days where the brand lives.
-- Tiers are earned by orders and worth together and are never taken away for being quiet.
with

placed as (
  select
    customer_id,
    order_id,
    ordered_at,
    local_date(ordered_at, $brand_timezone)                                                       as day,
    coalesce(total_base, 0) < 0                                                                   as is_refund,
    status = 'paid' and coalesce(total_base, 0) >= 0                                              as is_paid,
    case when total_base < 0 then total_base
      else greatest(total_base + coalesce(refunded_base, 0), cast(0 as decimal(18, 4))) end       as worth
  from orders
  where status <> 'cancelled'
),

-- The climb through the tiers, order by order.
climb as (
  select
    *,
    sum(case when is_paid then 1 else 0 end) over so_far                                             as nth,
    sum(case when is_paid or is_refund then worth else cast(0 as decimal(18, 4)) end) over so_far    as climbed
  from placed
  window so_far as (
    partition by customer_id
    order by ordered_at, order_id
    rows between unbounded preceding and current row)
),

counted as (
  select
    customer_id,
    count(*) filter (where is_paid)                                            as orders,
    count(distinct day) filter (where is_paid)                                 as order_days,
    greatest(sum(worth) filter (where is_paid or is_refund), cast(0 as decimal(18, 4)))   as total_base,
    rhythm(day) filter (where is_paid)                                         as rhythm_days,
    min(ordered_at) filter (where is_paid)                                     as first_order_at,
    max(ordered_at) filter (where is_paid)                                     as last_order_at,
    first_value(order_id order by ordered_at, order_id) filter (where is_paid)            as first_order_id,
    first_value(order_id order by ordered_at desc, order_id desc) filter (where is_paid)  as last_order_id,
    max(ordered_at) filter (where not is_refund)                               as last_seen_at,
    min(ordered_at) filter (where is_paid and nth >= $silver_orders   and climbed >= $silver_value)    as silver_met,
    min(ordered_at) filter (where is_paid and nth >= $gold_orders     and climbed >= $gold_value)      as gold_met,
    min(ordered_at) filter (where is_paid and nth >= $platinum_orders and climbed >= $platinum_value)  as platinum_met
  from climb
  group by customer_id
),

-- A tier is reached with the order that brought both, if what was kept in the end still is enough for it.
buying as (
  select
    *,
    case when total_base >= $silver_value   then silver_met   end as silver_at,
    case when total_base >= $gold_value     then gold_met     end as gold_at,
    case when total_base >= $platinum_value then platinum_met end as platinum_at
  from counted
),

-- The category they come for most; of equals the one bought more recently.
tastes as (
  select b.customer_id, p.category, sum(b.times) as times, sum(b.kept) as kept, max(b.last_at) as last_at
  from customer_products b
  join products p on p.product_id = b.product_id
  where b.kept > 0
  group by b.customer_id, p.category
),

favourites as (
  select
    customer_id,
    cast(sum(kept) as bigint)                                                                        as items,
    first_value(category order by category is null, times desc, last_at desc, category)  as favourite_category
  from tastes
  group by customer_id
),

-- What their last order was about: the line worth most that did not come back. Where all of it did, nothing.
last_lines as (
  select
    b.customer_id,
    first_value(p.product_id order by i.unit_price_base * i.quantity desc nulls last, i.line) as product_id
  from buying b
  join order_items i on i.order_id = b.last_order_id
  join products p on p.product_id = i.product_id
  join customer_products k on k.customer_id = b.customer_id and k.product_id = i.product_id
  where i.quantity > coalesce(i.returned, 0) and k.kept > 0
  group by b.customer_id
),

last_products as (
  select
    l.customer_id,
    p.product_id,
    p.name,
    case when p.url like 'https://_%' and p.url not like '% %' then p.url end as url,   -- a letter links to nothing else
    p.category
  from last_lines l
  join products p on p.product_id = l.product_id
),

-- A ticket that is closed without a time was resolved at some time nobody wrote down.
conversations as (
  select
    *,
    coalesce(resolved_at > $as_of, coalesce(status, '') not in ('solved', 'closed', 'resolved')) as is_open
  from tickets
  where opened_at <= $as_of
),

talking as (
  select
    customer_id,
    bool_or(is_open) filter (where kind = 'complaint')                             as open_complaint,
    max(opened_at) filter (where kind = 'complaint')                               as last_complaint_at,
    max(opened_at) filter (where kind = 'complaint' and is_open)                   as open_complaint_at,
    max(resolved_at) filter (where satisfaction = 'bad' and resolved_at <= $as_of) as last_unhappy_at,
    max(opened_at)                                                                 as last_ticket_at,
    first_value(subject order by opened_at desc, ticket_id)                        as last_ticket_subject
  from conversations
  group by customer_id
)

select
  c.customer_id,
  c.email,
  c.phone,
  c.first_name,
  c.last_name,
  c.honorific,
  c.locale,
  c.timezone,
  c.country,

  coalesce(b.orders, 0)                                                    as orders,           -- frequency
  coalesce(b.order_days, 0)                                                as order_days,       -- days with an order; several on one day are one
  coalesce(f.items, 0)                                                     as items,            -- pieces they kept
  cast(coalesce(b.total_base, 0) as decimal(18, 4))                        as total_base,       -- monetary: what the shop kept
  b.first_order_id,
  b.first_order_at,
  b.last_order_id,
  b.last_order_at,
  days_between(b.last_seen_at, $as_of, $brand_timezone)                    as quiet_days,       -- recency
  b.rhythm_days,                                                                                -- median gap between their order days; null below two
  cast(cast(b.rhythm_days as decimal(10, 0)) as bigint)                    as usual_days,       -- the same as a round number, for letters

  case
    when b.platinum_at is not null then 'platinum'
    when b.gold_at     is not null then 'gold'
    when b.silver_at   is not null then 'silver'
    else 'member'
  end                                                                      as tier,
  coalesce(b.platinum_at, b.gold_at, b.silver_at)                          as tier_reached_at,  -- the order that took them there; null for members

  f.favourite_category,
  l.product_id                                                             as last_product_id,
  l.name                                                                   as last_product,
  l.url                                                                    as last_product_url,
  l.category                                                               as last_product_category,

  k.open_complaint is true                                                as open_complaint,
  k.last_complaint_at,
  k.open_complaint_at,                                                                          -- the last of those still open
  k.last_unhappy_at,                                                                            -- the last time they called our answer bad
  k.last_ticket_subject,
  k.last_ticket_at
from customers c
left join buying b on b.customer_id = c.customer_id
left join favourites f on f.customer_id = c.customer_id
left join last_products l on l.customer_id = c.customer_id
left join talking k on k.customer_id = c.customer_id
where c.deleted_at is null      -- whoever asked to be deleted is in no segment
