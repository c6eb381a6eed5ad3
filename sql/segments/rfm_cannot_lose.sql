/* ---
key = "customer_id"
params = { rhythm_percent = 150, min_quiet_days = 21, max_quiet_days = 540 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "rows(0, 10000)"]
--- */
-- Decides whom a person wins back, not a letter: the best of all buyers by number and worth of their orders
-- (`cannot_lose` of `customer_rfm`) who are now among the quietest. A call or a note by hand may cost something
-- here; what it may cost stands in the row.
--
-- The cell compares with others. Whoever is quiet by their own habit is no loss, hence their rhythm has the last
-- word. Whoever has an open complaint hears of that first. `vip_handoff` goes by tiers, which nobody loses, and
-- ends after half a year; this goes by what others are worth today, and as far back as `lapsed`.
select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.phone,
  f.last_order_id,                                                        -- the occasion: this silence, since this order
  f.last_order_at,
  f.first_order_at,
  f.quiet_days,
  f.usual_days,                                                           -- median gap between their order days, rounded
  f.orders,
  f.total_base,                                                           -- what they have been worth so far
  cast(f.total_base / f.orders as decimal(18, 2)) as worth_per_order,     -- what one more order brings
  $brand_currency                                 as currency,
  r.r,
  r.f,
  r.m,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  n.next_product,                                                         -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  f.last_ticket_subject,
  f.last_ticket_at,
  f.tier
from customer_rfm r
join customer_features f on f.customer_id = r.customer_id
left join next_product n on n.customer_id = r.customer_id
where r.cell = 'cannot_lose'
  and f.quiet_days > $min_quiet_days
  and f.quiet_days < $max_quiet_days
  and f.quiet_days * 100 > coalesce(f.rhythm_days, 0) * $rhythm_percent
  and not f.open_complaint
