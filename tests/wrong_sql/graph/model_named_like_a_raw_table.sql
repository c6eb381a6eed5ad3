-- file: sql/models/shop__vouchers.sql
/* ---
key = "coupon_code"
--- */
-- The coupons that were ever used.
select coupon_code, count(*) as orders
from orders
where coupon_code is not null
group by coupon_code
