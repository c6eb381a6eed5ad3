#!/usr/bin/env bash
# The figures of this program on this machine, one line each. Build first: cargo build --release
# Sizes: CUSTOMERS (practice shop), ORDERS (pull), ROWS (merge), LETTERS (rendering), PEOPLE and BOUGHT (the large shop and its orders),
# RECIPIENTS (of one plan). Needs python3 and Debian's postfix (smtp-sink), and about 2 GB in the folder for temporary files.
set -euo pipefail
cd "$(dirname "$0")/.."
customers=${CUSTOMERS:-100000} orders=${ORDERS:-200000} rows=${ROWS:-10000000} letters=${LETTERS:-100000}
people_of_large=${PEOPLE:-1000000} bought=${BOUGHT:-10000000} recipients=${RECIPIENTS:-100000}
target=${CARGO_TARGET_DIR:-target}
perennial=$PWD/$target/release/perennial
[ -x "$perennial" ] || perennial=$target/release/perennial
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
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

# 1. From an HTTP page to Parquet: orders of three lines, 250 a page.
python3 benches/orders_api.py "$orders" 8098 & sleep $((2 + orders / 100000))
mkdir -p "$work/pull/config/sources" && cp config/perennial.toml config/practice.key "$work/pull/config" && cp -r jobs sql "$work/pull"
rm -r "$work/pull/sql/staging"
cat > "$work/pull/config/sources/api.toml" <<'TOML'
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
read -r seconds memory < <(measure "$perennial" --project "$work/pull" pull)
echo "pull: $(rate "$orders" "$seconds") orders/s from HTTP to Parquet ($orders in $seconds s), peak $memory MB"
kill %1 2>/dev/null || true

# 2. One percent of scattered changes merged into a large table.
cargo bench --quiet --bench figures -- merge "$rows"

# 3. The main job on the practice shop: pull, build, plan. Then the build alone, from nothing, as a replay.
cp -r config jobs sql "$work/"
export PERENNIAL__SANDBOX__CUSTOMERS=$customers
read -r seconds memory < <(measure "$perennial" --project "$work" run nightly)
echo "night: a shop of $customers customers in $seconds s, peak $memory MB"
count=$("$perennial" --project "$work" query "select count(*) as n from orders" --format csv | tail -1)
read -r seconds memory < <(measure "$perennial" --project "$work" build --as-of yesterday)
echo "build: models and segments over $customers customers and $count orders in $seconds s, peak $memory MB"

# 4. A large shop in Parquet files: pulled, built in full, and a plan for many people.
mkdir "$work/files"
cargo bench --quiet --bench figures -- shop "$people_of_large" "$bought" "$work/files"
"$perennial" init "$work/large" --preset csv > /dev/null
mv "$work/files"/* "$work/large/data-in/"
sed -i 's/customers\.csv/customers.parquet/; s/orders\.csv/orders.parquet/' "$work/large/config/sources/csv.toml"
cp config/practice.key "$work/large/config"
sed -i 's/^master = .*/master = { file = "config\/practice.key" }/' "$work/large/config/perennial.toml"
# The invented shop has more good customers than a real one would hand to its staff.
sed -i 's/rows(0, 10000)/rows(0, 1000000)/' "$work/large/sql/segments/vip_handoff.sql"
read -r seconds memory < <(measure "$perennial" --project "$work/large" pull)
echo "pull: $people_of_large customers and $bought orders from Parquet files in $seconds s, peak $memory MB"
read -r seconds memory < <(measure "$perennial" --project "$work/large" build)
echo "build: all models and segments over $people_of_large customers and $bought orders in $seconds s, peak $memory MB"
cp -r "$work/large/jobs/campaigns/win-back" "$work/large/jobs/campaigns/everybody"
sed -i "s/^segment = .*/segment = \"everybody\"/; s/^step = .*//; s/^holdout = .*/holdout = \"0%\"/" "$work/large/jobs/campaigns/everybody/campaign.toml"
cat > "$work/large/sql/segments/everybody.sql" <<SQL
/* ---
key = "customer_id"
--- */
-- As many people as are asked for, with all that the first win-back letter needs.
select f.*, cast(null as varchar) as next_product, cast(null as varchar) as next_product_url, cast(null as varchar) as next_product_reason,
  cast(null as decimal(18, 4)) as next_product_price, 1 as step, \$brand_currency as currency
from customer_features f join customers c on c.customer_id = f.customer_id
join consents a on a.customer_id = f.customer_id and a.status = 'granted'
where f.orders > 1 order by f.customer_id limit $recipients
SQL
"$perennial" --project "$work/large" build everybody > /dev/null
read -r seconds memory < <(measure "$perennial" --project "$work/large" plan everybody)
echo "plan: $recipients people through the gates into a frozen plan and its page in $seconds s, peak $memory MB"
rm -r "$work/large"

# 5. Letters filled in and made into mail.
cargo bench --quiet --bench figures -- render "$letters"

# 6. Delivery to an SMTP server, the ledger fully durable. Beside it, what Postfix's own client does with messages of that size.
sink=$(command -v smtp-sink || echo /usr/sbin/smtp-sink) user=$([ "$(id -u)" = 0 ] && echo "-u nobody" || true)
$sink $user 127.0.0.1:2527 1000 & sleep 1
export PERENNIAL__DELIVERY__EMAIL=smtp PERENNIAL__DELIVERY__SMTP__HOST=127.0.0.1 PERENNIAL__DELIVERY__SMTP__PORT=2527 PERENNIAL__DELIVERY__SMTP__TLS=none
plan=$("$perennial" --project "$work" plans | grep '^win-back' | grep -v replay | head -1)
people=$("$perennial" --project "$work" approve "$plan" --by bench --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)["planned"])')
read -r seconds memory < <(measure "$perennial" --project "$work" deliver "$plan")
echo "deliver: $(rate "$people" "$seconds") letters/s to smtp-sink ($people in $seconds s), peak $memory MB"
source=$(command -v smtp-source || echo /usr/sbin/smtp-source)
read -r seconds memory < <(measure "$source" -d -s 4 -m "$people" -l 14000 -f a@example.com -t b@example.com 127.0.0.1:2527)
echo "deliver: smtp-source, 4 sessions, 14 kB: $(rate "$people" "$seconds") messages/s"
