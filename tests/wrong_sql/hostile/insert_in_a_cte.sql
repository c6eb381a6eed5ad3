/* ---
key = "customer_id"
--- */
-- Decides who was told.
with told as (
  insert into sends (message_id, customer_id) values ('m1', 'c1') returning customer_id
)
select customer_id
from told
