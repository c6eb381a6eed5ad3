-- file: sql/models/newcomers.sql
/* ---
key = "customer_id"
audits = ["select customer_id from newcomers join greeted using (customer_id) where greeted.first_order_at is null"]
--- */
-- Who ordered for the first time this month.
select customer_id, first_order_at
from customer_features
where first_order_at > $as_of - interval '1 month'
-- file: sql/segments/greeted.sql
/* ---
key = "customer_id"
--- */
-- Decides who is greeted: every newcomer.
select customer_id, first_order_at
from newcomers
