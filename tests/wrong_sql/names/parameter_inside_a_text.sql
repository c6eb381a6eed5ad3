/* ---
key = "customer_id"
params = { category = "coffee" }
--- */
-- Decides who is told about a category.
select customer_id, favourite_category
from customer_features
where favourite_category like '%$category%'
