/* ---
key = "customer_id"
--- */
-- Decides who stands in the list that was sent by mail.
select customer_id, email
from '/tmp/friends.csv'
