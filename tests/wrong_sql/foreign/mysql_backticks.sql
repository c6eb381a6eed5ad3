/* ---
key = "customer_id"
--- */
-- Decides whom we call.
select `customer_id`, `phone`
from `shop`.`customer_features`
where `tier` = 'platinum'
