/* ---
key = "customer_id"
--- */
-- Decides who paid with the spring coupon.
select distinct customer_id
from shop__orders
where coupon_code = 'SPRING'
