#!/usr/bin/env bash
# What a second build of the same night takes: with nothing new, and with one percent more orders. Build first: cargo build --release
# PROJECT names the shop that segments.sh left there; it is copied. PEERS names a Python that has duckdb, which writes the orders.
set -euo pipefail
cd "$(dirname "$0")/.."
peers=${PEERS:?names a Python that has duckdb} shop=${PROJECT:?names the shop that segments.sh left}
target=${CARGO_TARGET_DIR:-target}
perennial=$PWD/$target/release/perennial
[ -x "$perennial" ] || perennial=$target/release/perennial
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PERENNIAL_LOG=error

mkdir -p "$work/data/lake"
cp -r "$shop"/{config,jobs,sql,data-in} "$work/"
for table in "$shop"/data/lake/csv__*; do cp -r "$table" "$work/data/lake/"; done

# Builds, and keeps what it prints as $1.json.
build() {
  "$peers" - "$work/$1.json" "$perennial" --project "$work" build --format json <<'PY'
import json, resource, subprocess, sys, time
began = time.time()
with open(sys.argv[1], "w") as out:
    subprocess.run(sys.argv[2:], check=True, stdout=out)
used, wall = resource.getrusage(resource.RUSAGE_CHILDREN), time.time() - began
with open(sys.argv[1]) as out:
    told = json.load(out)
json.dump(told | {"wall": wall, "cpu": used.ru_utime + used.ru_stime}, open(sys.argv[1], "w"))
PY
}
build first
build same

# Everything there was, and a hundredth of it again under new numbers, ordered in the last hours by people who are known.
"$peers" - "$work" <<'PY'
import duckdb, glob, sys
db, work = duckdb.connect(), sys.argv[1]
db.execute(f"create table o as select * exclude (_pulled_at) from read_parquet({glob.glob(f'{work}/data/lake/csv__orders/*.parquet')})")
db.execute(f"""copy (
  select * from o
  union all
  select * replace (concat('again-', order_id) as order_id, (select max(ordered_at) from o) as ordered_at, null as delivered_at)
  from o where hash(order_id) % 100 = 0
) to '{work}/data-in/orders.parquet'""")
PY
"$perennial" --project "$work" pull csv.orders > /dev/null
build more

"$peers" - "$work" <<'PY'
import collections, json, sys
first, same, more = (json.load(open(f"{sys.argv[1]}/{name}.json")) for name in ("first", "same", "more"))
def line(what, build):
    outcomes = collections.Counter(table["outcome"] for table in build["tables"])
    told = ", ".join(f"{count} {outcome}" for outcome, count in sorted(outcomes.items()))
    print(f"{what}: {build['wall']:.1f} s, {build['cpu']:.1f} s of a processor = {build['cpu'] / first['cpu']:.2f} of the first; {told}")
line("first build", first)
line("nothing new", same)
line("one percent more orders", more)
spent = sorted(((table["seconds"], table["name"]) for table in more["tables"] if table["outcome"] == "built"), reverse=True)
print("most of it:", ", ".join(f"{name} {seconds:.1f} s" for seconds, name in spent[:8]))
PY
