/* ---
key = "customer_id"
--- */
-- Decides who never complained.
select customer_id from customer_features
minus
select customer_id from tickets where kind = 'complaint'
