/* ---
key = "customer_id"
--- */
-- Takes the addresses along.
copy (select email from customers) to '/tmp/addresses.csv' stored as csv
