#!/usr/bin/env bash
# Models, segments and metrics over a large shop, beside DuckDB, which reads the very same files: seconds for each, and whether both find
# the same rows. Build first: cargo build --release
# PEERS names a Python (3.11 or later) that has duckdb; benches/duckdb holds the files of sql/ in its dialect.
# Sizes: CUSTOMERS, ORDERS. PROJECT names a folder in which the pulled shop is kept, and found again by the next run. ROUNDS: how often
# each engine has its turn; the best time of a file counts. MEMORY, such as 2GB: what either engine may take.
# Times count on a quiet machine only; where it is not, look at the seconds of the processor.
set -euo pipefail
cd "$(dirname "$0")/.."
customers=${CUSTOMERS:-1000000} orders=${ORDERS:-10000000} rounds=${ROUNDS:-1} memory=${MEMORY:-}
peers=${PEERS:?names a Python that has duckdb}
target=${CARGO_TARGET_DIR:-target}
perennial=$PWD/$target/release/perennial
[ -x "$perennial" ] || perennial=$target/release/perennial
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
project=${PROJECT:-$work/shop}
export PERENNIAL_LOG=error
[ -z "$memory" ] || export PERENNIAL__ENGINE__MEMORY_LIMIT=$memory

# Runs a command; prints its seconds and its peak memory in MB.
measure() { python3 - "$@" <<'PY'
import resource, subprocess, sys, time
begun = time.time()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(f"{time.time() - begun:.2f} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}")
PY
}

# 1. The shop: the csv preset, from Parquet files, with what they tell beyond it.
if [ ! -d "$project" ]; then
  "$perennial" init "$project" --preset csv > /dev/null
  date -u +%F > "$project/data-in/day"
  "$peers" benches/segments_shop.py "$customers" "$orders" "$project/data-in" "$(cat "$project/data-in/day")"
  source=$project/config/sources/csv.toml
  sed -i 's/customers\.csv/customers.parquet/; s/orders\.csv/orders.parquet/; /^marketing_consent =/d; /^product =/d; /^category =/d' "$source"
  sed -i 's/^  order_id$/  order_id, delivered_at, discount, refunded, coupon_code, channel/' "$project/sql/staging/csv__orders.sql"
  cat >> "$source" <<'TOML'
delivered_at = "timestamp"
discount = "decimal(18,4)"
coupon_code = "text"
refunded = "decimal(18,4)"
channel = "text"
[streams.order_items]
path = "data-in/order_items.parquet"
key = ["order_id", "line"]
[streams.order_items.columns]
order_id = "text"
line = "integer"
product_id = "text"
quantity = "integer"
returned = "integer"
unit_price = "decimal(18,4)"
[streams.products]
path = "data-in/products.parquet"
key = ["product_id"]
[streams.products.columns]
product_id = "text"
name = "text"
category = "text"
url = "text"
price = "decimal(18,4)"
in_stock = "boolean"
durable = "boolean"
[streams.tickets]
path = "data-in/tickets.parquet"
key = ["ticket_id"]
[streams.tickets.columns]
ticket_id = "text"
customer_id = "text"
opened_at = "timestamp"
first_reply_at = "timestamp"
resolved_at = "timestamp"
status = "text"
kind = "text"
satisfaction = "text"
subject = "text"
order_id = "text"
product_id = "text"
summary_fix = "text"
agent_name = "text"
[streams.feedback]
path = "data-in/feedback.parquet"
key = ["feedback_id"]
[streams.feedback.columns]
feedback_id = "text"
customer_id = "text"
given_at = "timestamp"
kind = "text"
score = "integer"
comment = "text"
[streams.consents]
path = "data-in/consents.parquet"
key = ["customer_id", "channel", "purpose", "at"]
[streams.consents.columns]
customer_id = "text"
channel = "text"
purpose = "text"
status = "text"
at = "timestamp"
TOML
  stage() { echo "select * except ($2) $3 from csv__$1" > "$project/sql/staging/csv__$1.sql"; }
  stage order_items _pulled_at ", \$brand_currency as currency"
  stage products _pulled_at ", \$brand_currency as currency"
  stage tickets _pulled_at ""
  stage feedback "feedback_id, _pulled_at" ""
  stage consents _pulled_at ""
  read -r seconds peak < <(measure "$perennial" --project "$project" pull)
  echo "pull: $customers customers and $orders orders from Parquet files in $seconds s, peak $peak MB"
  # A ledger cannot be invented by way of a source.
  "$peers" - "$project" <<'PY'
import duckdb, sqlite3, sys
sends = duckdb.connect().execute(f"from '{sys.argv[1]}/data-in/sends.parquet'")
columns = [name for name, *_ in sends.description]
ledger = sqlite3.connect(f"{sys.argv[1]}/data/ledger.db")
while rows := sends.fetchmany(10_000):
    ledger.executemany(f"insert into messages ({', '.join(columns)}) values ({', '.join('?' * len(columns))})", rows)
ledger.commit()
PY
  rm "$project"/data-in/*.parquet
fi

# 2. Our turn and theirs: everything from the raw tables as a replay, then models, segments and metrics by DuckDB from our canonical tables.
rm -r "$project"/sql/{models,segments,metrics}
cp -r sql/{models,segments,metrics} "$project/sql/"
# The invented shop has more people in some segments than a real one would write to.
sed -i '/^audits = /s/rows(0, [0-9]*)/rows(0, 1000000000)/' "$project"/sql/segments/*.sql
export PROJECT=$project
as_of=$(cat "$project/data-in/day")T00:00:00Z rounds_of=()
for round in $(seq "$rounds"); do
  rm -rf "$project/data/scratch" "$work/duckdb"
  mkdir -p "$work/$round" "$work/duckdb"
  "$peers" benches/segments_duckdb.py ours "$work/$round" "$perennial" --project "$project" build --as-of "$as_of" --format json
  lake=$(echo "$project"/data/scratch/*)
  "$peers" benches/segments_duckdb.py theirs "$work/$round" "$lake" "$work/duckdb"
  rounds_of+=("$work/$round")
done

# 3. Whether they found the same, and how long each took.
"$peers" benches/segments_duckdb.py compare "$work/$rounds" "$lake" "$work/duckdb" || true
"$peers" benches/segments_duckdb.py table "${rounds_of[@]}"
