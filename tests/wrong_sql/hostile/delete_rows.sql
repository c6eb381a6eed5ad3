/* ---
key = "customer_id"
--- */
-- Cleans up before the night.
delete from customers where deleted_at is not null
