/* ---
key = ["currency", "date"]
audits = ["not_null(rate)"]
--- */
-- What one unit of a currency was worth in the brand's currency on a day, as the shop's bank published it.
select
  currency,
  date,
  rate        -- amount in `currency` * rate = amount in the brand's currency
from shop__fx_rates
where date <= cast($as_of as date)
