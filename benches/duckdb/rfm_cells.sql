-- sql/metrics/rfm_cells.sql, in DuckDB's words.
with

names as (
  select place, cell
  from (values
    (1, 'champions'),
    (2, 'loyal'),
    (3, 'potential_loyalists'),
    (4, 'new_customers'),
    (5, 'promising'),
    (6, 'needs_attention'),
    (7, 'about_to_sleep'),
    (8, 'cannot_lose'),
    (9, 'at_risk'),
    (10, 'hibernating'),
    (11, 'lost')) as v (place, cell)
),

counts as (
  select
    cell,
    count(*)        as customers,
    sum(frequency)  as orders,
    sum(monetary)   as worth
  from customer_rfm
  group by cell
),

joined as (
  select
    n.place,
    n.cell,
    coalesce(c.customers, 0)                      as customers,
    coalesce(c.orders, 0)                         as orders,
    cast(coalesce(c.worth, 0) as decimal(28, 4))  as worth
  from names n
  left join counts c on c.cell = n.cell
),

everybody as (
  select sum(customers) as customers, sum(worth) as worth
  from joined
)

select
  j.place,
  j.cell,
  local_date($as_of, $brand_timezone)                                     as day,
  j.customers,
  e.customers                                                           as customers_n,
  cast(quotient(j.customers, nullif(e.customers, 0)) as decimal(6, 4))  as customers_share,
  cast(j.orders as bigint)                                              as orders,
  cast(j.worth as decimal(18, 4))                                       as worth_base,
  cast(quotient(j.worth, nullif(e.worth, 0)) as decimal(6, 4))          as worth_share,
  cast(quotient(j.worth, nullif(j.customers, 0)) as decimal(18, 2))     as worth_per_customer
from joined j
cross join everybody e
order by j.place
