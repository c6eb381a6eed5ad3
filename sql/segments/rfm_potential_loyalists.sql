/* ---
key = "customer_id"
params = { min_quiet_days = 14, max_quiet_days = 90 }
audits = ["unique(customer_id)", "not_null(customer_id)", "not_null(last_order_id)", "rows(0, 500000)", "change(60%, 20)"]
--- */
-- Decides whom we help to the next order: potential loyalists of `customer_rfm`, who came lately and are in the
-- middle by number and worth of their orders. A tip for what they have, or what goes with it, makes the habit;
-- a discount would only bring the order forward.
--
-- Once an order at most. The parcel comes first, hence two weeks of peace, and so does the answer to a complaint.
-- Lately is a comparison, too: where few come at all, three months are the limit.
select
  f.customer_id,
  f.email,
  f.first_name,
  f.last_name,
  f.honorific,
  f.locale,
  f.timezone,
  f.country,
  f.last_order_id,                          -- the occasion: the order before the next
  f.last_order_at,
  f.quiet_days,
  f.orders,
  f.total_base,                             -- what they have been worth so far
  r.r,
  r.f,
  r.m,
  f.favourite_category,
  f.last_product,
  f.last_product_url,
  coalesce(f.last_product_category, f.favourite_category) as tip_category,   -- what a useful tip should be about
  n.next_product,                           -- null where nothing would be a good suggestion
  n.next_product_url,
  n.next_product_reason,
  n.next_product_price,
  $brand_currency as currency,              -- of worth and price
  f.tier
from customer_rfm r
join customer_features f on f.customer_id = r.customer_id
left join next_product n on n.customer_id = r.customer_id
where r.cell = 'potential_loyalists'
  and f.quiet_days > $min_quiet_days
  and f.quiet_days <= $max_quiet_days
  and not f.open_complaint
