"""Two years of a shop as Parquet files, with work for every model and segment. Usage: segments_shop.py CUSTOMERS ORDERS FOLDER [DAY]

The two years end at the start of DAY (UTC; today). Everything hangs on the numbers of the rows, so that one version of DuckDB writes the
same rows every time, and row by row, so that memory stays small however many there are. A few customers buy often, most rarely; each came
one day, and half of them left again. Ids of orders rise with time, those of their buyers do not.
"""
import datetime, os, sys
import duckdb

customers, orders, folder = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
day = datetime.date.fromisoformat(sys.argv[4]) if len(sys.argv) > 4 else datetime.datetime.now(datetime.timezone.utc).date()
os.makedirs(folder, exist_ok=True)
db = duckdb.connect(config={"threads": 2, "memory_limit": "1500MB"})
db.execute("set timezone = 'UTC'")

DAYS, PRODUCTS, CATEGORIES = 730, 2000, ["coffee", "tea", "spices", "sweets", "honey", "soap", "candles", "linen", "kitchen", "furniture"]
A_SHELF = PRODUCTS // len(CATEGORIES)
db.execute(f"""
-- A number from 0 to 1 that looks drawn, always the same for one `i` and `salt`.
create macro draw(i, salt) as (hash(i * 64 + salt) >> 11) / 9007199254740992;
create macro pick(i, salt, below) as cast(floor(draw(i, salt) * below) as bigint);
create macro skewed(i, salt, below) as cast(floor(pow(draw(i, salt), 2) * below) as bigint);

-- Days are counted from the beginning of the two years.
create macro instant(days) as
  to_timestamp(cast(epoch(timestamptz '{day}') as bigint) - {DAYS * 86400} + cast(floor(days * 86400) as bigint));
create macro came(c) as case when draw(c, 1) < 0.4 then -300 * draw(c, 2) else 0.95 * {DAYS} * draw(c, 2) end;
create macro after(c, salt) as greatest(came(c), 0) + draw(c, salt) * ({DAYS} - greatest(came(c), 0));
create macro left_on(c) as case when draw(c, 3) < 0.5 then {DAYS} else after(c, 4) end;
create macro is_there(c, days) as came(c) <= days and days <= left_on(c);
create macro ordered(i) as (i + draw(i, 1)) * {DAYS} / {orders};
create macro buyer(i) as case
  when is_there(skewed(i, 2, {customers}), ordered(i)) then skewed(i, 2, {customers})
  when is_there(skewed(i, 3, {customers}), ordered(i)) then skewed(i, 3, {customers})
  else skewed(i, 4, {customers}) end;
create macro buyer_id(i, c) as case when draw(i, 5) > 0.01 then 'c' || c end;

create macro order_id(i) as 'o' || lpad(cast(i as varchar), 9, '0');
create macro is_refund(i) as draw(i, 6) < 0.005;
create macro lines(i) as case
  when is_refund(i) or draw(i, 7) < 0.65 then 1 when draw(i, 7) < 0.87 then 2 when draw(i, 7) < 0.97 then 3 else 4 end;
-- People come back for one thing, like one shelf, and look at the rest.
create macro product(i, c, line) as case
  when draw(i, 10 + line) < 0.25 then pick(c, 5, {len(CATEGORIES)}) * {A_SHELF} + pick(c, 6, {A_SHELF})
  when draw(i, 10 + line) < 0.65 then pick(c, 5, {len(CATEGORIES)}) * {A_SHELF} + skewed(i, 15 + line, {A_SHELF})
  else skewed(i, 15 + line, {PRODUCTS}) end;
create macro cents(product) as 490 + pick(product, 1, 6000);
create macro quantity(i, line) as case when is_refund(i) then -1 when draw(i, 20 + line) < 0.85 then 1 else 2 end;
create macro returned(i, c, line) as case
  when not is_refund(i) and draw(i, 25 + line) < case when draw(c, 7) < 0.04 then 0.6 else 0.03 end then 1 else 0 end;
create macro has_coupon(i, c) as not is_refund(i) and (draw(c, 8) < 0.1 or draw(i, 30) < 0.15);
create macro euros(cents) as cast(cents / 100 as decimal(18, 4));
""")
each_line = lambda of: " + ".join(f"case when lines(i) >= {line} then {of.format(line=line)} else 0 end" for line in range(1, 5))


def write(name, rows):
    db.execute(f"copy ({rows}) to '{folder}/{name}.parquet' (format parquet, compression zstd)")


write("customers", f"""
  select 'c' || c as customer_id, 'c' || c || '@example.org' as email,
    'First' || pick(c, 10, 5000) as first_name, 'Last' || pick(c, 11, 70000) as last_name, '' as phone,
    (['de-DE', 'fr-FR', 'en-GB', 'es-ES'])[1 + pick(c, 12, 4)] as locale,
    (['Europe/Berlin', 'Europe/Paris', 'Europe/London', 'Europe/Madrid'])[1 + pick(c, 12, 4)] as timezone,
    (['DE', 'FR', 'GB', 'ES'])[1 + pick(c, 12, 4)] as country,
    case when draw(c, 13) < 0.8 then date '1950-01-01' + cast(pick(c, 14, 20000) as integer) end as birthday,
    instant(came(c)) as created_at
  from range({customers}) t(c)""")

write("orders", f"""
  select order_id(i) as order_id, buyer_id(i, c) as customer_id, instant(ordered(i)) as ordered_at,
    case when is_refund(i) then -euros(cents(product(i, c, 1)))
      when draw(i, 31) < 0.003 then 0                                             -- a replacement
      else euros(goods - discount) end as total,
    'EUR' as currency,
    case when is_refund(i) or draw(i, 32) < 0.93 then 'paid' when draw(i, 32) < 0.96 then 'refunded'
      when draw(i, 32) < 0.98 then 'cancelled' else 'pending' end as status,
    case when ordered(i) + 2 + 4 * draw(i, 33) < {DAYS} then instant(ordered(i) + 2 + 4 * draw(i, 33)) end as delivered_at,
    euros(discount) as discount, case when has_coupon(i, c) then 'CODE' || pick(i, 34, 20) end as coupon_code,
    -euros(least(back, goods - discount)) as refunded, (['web', 'app', 'store'])[1 + pick(i, 35, 3)] as channel
  from (
    select *, case when has_coupon(i, c) then goods * 15 // 100 else 0 end as discount
    from (select i, c, {each_line("cents(product(i, c, {line})) * quantity(i, {line})")} as goods,
            {each_line("cents(product(i, c, {line})) * returned(i, c, {line})")} as back
          from (select i, buyer(i) as c from range({orders}) t(i))))""")

write("order_items", f"""
  select order_id(i) as order_id, line, 'p' || product(i, c, line) as product_id, quantity(i, line) as quantity,
    returned(i, c, line) as returned, euros(cents(product(i, c, line))) as unit_price
  from (select i, buyer(i) as c, unnest(range(1, lines(i) + 1)) as line from range({orders}) t(i))""")

# Neighbours are one thing in two sizes.
write("products", f"""
  select 'p' || p as product_id, 'Thing ' || (p // 2) || ([', 250 g', ', 1 kg'])[1 + p % 2] as name,
    (['{"', '".join(CATEGORIES)}'])[1 + p // {A_SHELF}] as category, 'https://shop.example/p/' || p as url,
    euros(cents(p)) as price, draw(p, 2) < 0.9 as in_stock, p // {A_SHELF} >= 8 as durable
  from range({PRODUCTS}) t(p)""")

# Every twentieth order is talked about.
write("tickets", f"""
  select 't' || j as ticket_id, buyer_id(i, c) as customer_id, instant(opened) as opened_at,
    case when opened + replied < {DAYS} then instant(opened + replied) end as first_reply_at,
    case when opened + solved < {DAYS} then instant(opened + solved) end as resolved_at,
    case when opened + solved < {DAYS} then 'solved' else 'open' end as status,
    (['question', 'question', 'complaint', 'return'])[1 + pick(i, 42, 4)] as kind,
    case when opened + solved >= {DAYS} or draw(i, 43) > 0.5 then null when draw(i, 43) < 0.4 then 'good' else 'bad' end as satisfaction,
    'About order ' || i as subject, order_id(i) as order_id, case when draw(i, 44) < 0.5 then 'p' || product(i, c, 1) end as product_id,
    'Sent a new one' as summary_fix, 'Agent ' || pick(i, 45, 12) as agent_name
  from (select *, buyer(i) as c, ordered(i) + 1 + 8 * draw(i, 40) as opened, 0.02 + 3 * pow(draw(i, 41), 3) as replied,
          0.02 + 3 * pow(draw(i, 41), 3) + 12 * pow(draw(i, 46), 3) as solved
        from (select j, j * 20 + pick(j, 50, 20) as i from range({orders // 20}) t(j)))
  where opened < {DAYS}""")

write("feedback", f"""
  select 'f' || j as feedback_id, buyer_id(i, buyer(i)) as customer_id, instant(ordered(i) + 14) as given_at,
    case when draw(i, 47) < 0.8 then 'nps' else 'csat' end as kind, 10 - skewed(i, 48, 11) as score,
    case when draw(i, 49) < 0.2 then 'Words about order ' || i end as comment
  from (select j, j * 30 + pick(j, 51, 30) as i from range({orders // 30}) t(j))
  where ordered(i) + 14 < {DAYS} and draw(i, 5) > 0.01""")

# Most agree when they come, and some of them think better of it.
write("consents", f"""
  select 'c' || c as customer_id, 'email' as channel, 'marketing' as purpose,
    case when draw(c, 20) < 0.85 then 'granted' else 'denied' end as status, instant(came(c)) as at
  from range({customers}) t(c)
  union all
  select 'c' || c, 'email', 'marketing', 'denied', instant(after(c, 21))
  from range({customers}) t(c) where draw(c, 22) < 0.05""")

# What the ledger remembers: a letter two months after every fiftieth order, to some a call.
write("sends", f"""
  select 'm' || j as message_id, 'plan-' || cast(day as integer) // 7 as plan,
    case when is_call then 'vip-handoff' else 'win-back' end as campaign,
    case when is_call then 'internal' else 'marketing' end as kind, case when is_call then 'webhook' else 'email' end as channel,
    'csv:c' || buyer(i) as customer_id, case when is_call then 'complaint:' || j else order_id(i) end as occasion,
    1 + pick(i, 53, 3) as step, case when draw(i, 54) < 0.95 then 'accepted' else 'rejected' end as state, epoch_us(instant(day)) as "at"
  from (select j, i, ordered(i) + 60 as day, draw(i, 52) < 0.1 as is_call
        from (select j, j * 50 + pick(j, 55, 50) as i from range({orders // 50}) t(j)))
  where day < {DAYS}""")
