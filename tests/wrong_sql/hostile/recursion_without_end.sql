/* ---
key = "customer_id"
--- */
-- Counts for ever.
with recursive

numbers as (
  select 1 as n

  union all

  select n + 1
  from numbers
)

select cast(n as varchar) as customer_id
from numbers
