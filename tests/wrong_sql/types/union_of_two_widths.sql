/* ---
key = "customer_id"
--- */
-- Decides who is written to about the move: customers, and who wrote to the help desk.
select customer_id, email, first_name
from customer_features

union all

select customer_id, subject
from tickets
