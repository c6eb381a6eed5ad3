/* ---
key = "customer_id"
--- */
-- Decides who stands in the partner's list.
select customer_id, email
from 'https://partner.example.com/customers.csv'
