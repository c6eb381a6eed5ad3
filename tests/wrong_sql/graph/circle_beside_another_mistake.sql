-- file: sql/models/stamps.sql
/* ---
key = "customer_id"
--- */
-- Stamps each customer has, by their card.
select c.customer_id, c.factor * 10 as stamps
from cards c
-- file: sql/models/cards.sql
/* ---
key = "customer_id"
--- */
-- The card each customer has, by their stamps.
select s.customer_id, case when s.stamps > 100 then 2 else 1 end as factor
from stamps s
-- file: sql/segments/silent_for_long.sql
/* ---
key = "customer_id"
--- */
-- Decides who is asked to come back.
select customer_id, email
from customer_features
where quiet_dayz > 180
