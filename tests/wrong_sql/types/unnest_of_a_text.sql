/* ---
key = "customer_id"
--- */
-- Decides who wrote which words.
select customer_id, unnest(comment) as word
from feedback
