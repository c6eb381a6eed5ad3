/* ---
key = "customer_id"
--- */
-- Decides who gets the autumn catalogue: everybody above member.
select customer_id, email, first_name
from customer_feature
where tier <> 'member'
