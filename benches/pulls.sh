#!/usr/bin/env bash
# Pulling, beside what people would use instead, in one run. Build first: cargo build --release
# PEERS names a Python that has dlt[parquet], duckdb and duckdb-extension-postgres-scanner of the same version; without it they are left out.
# Sizes: ORDERS (HTTP, beside dlt), MANY (HTTP, ours alone), ROWS (PostgreSQL; and the table that changes by one percent).
# Needs python3 and Debian's postgresql, and about 4 GB in the folder for temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."
orders=${ORDERS:-100000} many=${MANY:-1000000} rows=${ROWS:-10000000} peers=${PEERS:-}
target=${CARGO_TARGET_DIR:-target}
perennial=$PWD/$target/release/perennial
[ -x "$perennial" ] || perennial=$target/release/perennial
work=$(mktemp -d)
chmod 755 "$work"
trap 'kill $(jobs -p) 2>/dev/null || true; [ -z "${data:-}" ] || as_owner "$bin/pg_ctl" -D "$data" -m immediate stop > /dev/null 2>&1 || true; rm -rf "$work"' EXIT
export PERENNIAL_LOG=error

# Runs a command; prints its seconds and its peak memory in MB.
measure() { python3 - "$@" <<'PY'
import resource, subprocess, sys, time
begun = time.time()
subprocess.run(sys.argv[1:], check=True, stdout=subprocess.DEVNULL)
print(f"{time.time() - begun:.2f} {resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024}")
PY
}
rate() { awk -v n="$1" -v s="$2" 'BEGIN { printf "%.0f", n / s }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.1f", a / b }'; }
project() {
  mkdir -p "$work/$1/config/sources"
  cp config/perennial.toml config/practice.key "$work/$1/config"
  cat > "$work/$1/config/sources/$2.toml"
}

# 1. Orders of three lines over HTTP, 250 a page: beside dlt, then many more of them, to see that memory does not grow with them.
for count in "$orders" "$many"; do
  python3 benches/orders_api.py "$count" 8098 & api=$!
  until python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8098), 1)' 2> /dev/null; do sleep 0.5; done
  project "http-$count" api <<'TOML'
kind = "http"
base_url = "http://127.0.0.1:8098"
[streams.orders]
path = "/orders"
rows = "orders"
key = ["id"]
pagination = { cursor_token = { param = "page", next = "next" } }
[streams.orders.columns]
id = "text"
customer_id = "text"
updated_at = "timestamp"
total_price = "decimal(18,4)"
currency = "text"
financial_status = "text"
note = "text"
line_items = [{ id = "text", product_id = "text", quantity = "integer", price = "decimal(18,4)" }]
TOML
  # Once to have the program in memory, as it is every night but the first.
  "$perennial" --project "$work/http-$count" pull > /dev/null && rm -rf "$work/http-$count/data"
  read -r seconds memory < <(measure "$perennial" --project "$work/http-$count" pull)
  echo "http: $count orders in $seconds s, $(rate "$count" "$seconds")/s, peak $memory MB"
  if [ "$count" = "$orders" ] && [ -n "$peers" ]; then
    read -r theirs memory < <(measure "$peers" benches/pull_dlt.py http://127.0.0.1:8098/ "$count" 2> /dev/null)
    echo "http: dlt, the same in $theirs s, $(rate "$count" "$theirs")/s, peak $memory MB: ours is $(ratio "$theirs" "$seconds") times as fast"
  fi
  kill $api; wait $api 2> /dev/null || true
done

# 2. One percent of a large table changes: the first load over HTTP, then each way of changing.
python3 benches/rows_api.py "$rows" 8097 &
until python3 -c 'import socket; socket.create_connection(("127.0.0.1", 8097), 1)' 2> /dev/null; do sleep 0.5; done
project change api <<'TOML'
kind = "http"
base_url = "http://127.0.0.1:8097"
[streams.rows]
path = "/rows"
rows = "rows"
key = ["id"]
cursor = { field = "changed", param = "since", format = "unix", overlap = "0s" }
pagination = { cursor_token = { param = "after", next = "next" } }
[streams.rows.columns]
id = "text"
customer = "text"
value = "integer"
changed = "timestamp"
TOML
read -r first memory < <(measure "$perennial" --project "$work/change" pull)
echo "change: first load of $rows rows over HTTP in $first s, peak $memory MB"
for way in clustered scattered; do
  sleep 1.1
  python3 -c "import urllib.request as u; u.urlopen(u.Request('http://127.0.0.1:8097/change?way=$way', method='POST'))"
  sleep 1.1
  read -r seconds memory < <(measure "$perennial" --project "$work/change" pull)
  echo "change: one percent of them, $way, pulled and merged in $seconds s, peak $memory MB: 1/$(ratio "$first" "$seconds") of the first load"
done

# 3. PostgreSQL into Parquet, beside DuckDB's extension and psql's \copy.
bin=$(dirname "$(compgen -G '/usr/lib/postgresql/*/bin/initdb' | tail -1)")
as_owner() { if [ "$(id -u)" = 0 ]; then (cd / && runuser -u postgres -- "$@"); else "$@"; fi; }
data=$work/pg
mkdir "$data" && { [ "$(id -u)" != 0 ] || chown postgres "$data"; }
as_owner "$bin/initdb" -D "$data" -U shop --auth=trust --no-sync > /dev/null
as_owner "$bin/pg_ctl" -D "$data" -w -o "-p 8096 -c fsync=off -c max_wal_size=8GB -c unix_socket_directories=$data" -l "$data/log" start > /dev/null
url=postgresql://shop@127.0.0.1:8096/postgres
for count in $((rows / 10)) "$rows"; do
  psql -q "$url" <<SQL
set client_min_messages = warning;
drop table if exists orders;
create table orders as select i::bigint as id, (i % 50000)::text as customer_id, (i % 300 + 0.5)::numeric(18,4) as total, 'EUR'::text as currency,
  timestamptz '2026-01-01 00:00:00+00' + i * interval '1 second' as updated_at, 'paid'::text as status from generate_series(1, $count) i;
alter table orders add primary key (id);
analyze orders;
SQL
  project "pg-$count" shop <<TOML
kind = "database"
url = "postgres://shop@127.0.0.1:8096/postgres"
tls = "off"
[streams.orders]
table = "public.orders"
key = ["id"]
[streams.orders.columns]
id = "integer"
customer_id = "text"
total = "decimal(18,4)"
currency = "text"
updated_at = "timestamp"
status = "text"
TOML
  read -r seconds memory < <(measure "$perennial" --project "$work/pg-$count" pull)
  echo "postgres: $count rows in $seconds s, $(rate "$count" "$seconds")/s, peak $memory MB"
done
read -r theirs memory < <(measure psql -q "$url" -c "\\copy orders to '$work/orders.csv' csv")
echo "postgres: psql \\copy to CSV in $theirs s: ours takes $(ratio "$seconds" "$theirs") times as long"
if [ -n "$peers" ]; then
  read -r theirs memory < <(measure "$peers" benches/pull_duckdb.py "$url" "$work/orders.parquet")
  echo "postgres: DuckDB's extension into Parquet in $theirs s, peak $memory MB: ours takes $(ratio "$seconds" "$theirs") times as long"
fi
