/* ---
key = "customer_id"
--- */
-- Decides who bought again and again: an order, the one before it, and so on.
select distinct customer_id
from orders
start with coupon_code = 'FRIEND'
connect by prior order_id = coupon_code
