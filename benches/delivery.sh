#!/usr/bin/env bash
# Delivery beside Postfix's own client on this machine, one line each: the same smtp-sink, messages of the same size, in the same minutes.
# Ours are personal letters, filled in on the way, and every promise and outcome stands in the ledger, synced to disk.
# Build first: cargo build --release. Needs python3 and Debian's postfix (smtp-source, smtp-sink).
#
# PEOPLE: recipients of each size (10000 100000); BYTES: letters of about so many bytes (3000 60000); ROUNDS: best of so many;
# DISTANCE: a round trip in ms (20), of which one more line a size tells, beside the pooled transport of lettre: FAR letters (1000) over
# CONNECTIONS (4) on either side; PEER: a folder to build and keep that transport's program in, which needs cargo.
# Empty, PEOPLE or DISTANCE leaves its lines out. PORT: this one (2527) and the next are taken.
set -euo pipefail
shopt -s inherit_errexit
cd "$(dirname "$0")/.."
people=${PEOPLE-"10000 100000"} sizes=${BYTES:-"3000 60000"} rounds=${ROUNDS:-3}
distance=${DISTANCE-20} far=${FAR:-1000} connections=${CONNECTIONS:-4} port=${PORT:-2527}
perennial=${PERENNIAL:-${CARGO_TARGET_DIR:-target}/release/perennial}
perennial=$(realpath "$perennial")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
export PERENNIAL_LOG=error PATH=$PATH:/usr/sbin
export PERENNIAL__DELIVERY__EMAIL=smtp PERENNIAL__DELIVERY__SMTP__HOST=127.0.0.1 PERENNIAL__DELIVERY__SMTP__TLS=none

# Runs a command, which says what it says in $work/said; prints its seconds, the seconds of a processor it took, and its peak memory in MB.
measure() { python3 - "$work/said" "$@" <<'PY'
import resource, subprocess, sys, time
begun = time.time()
subprocess.run(sys.argv[2:], check=True, stdout=open(sys.argv[1], "w"))
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(f"{time.time() - begun:.3f} {used.ru_utime + used.ru_stime:.2f} {used.ru_maxrss // 1024}")
PY
}
rate() { awk -v n="$1" -v s="$2" 'BEGIN { printf "%.0f", n / s }'; }
ratio() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%.2f", a / b }'; }
best() { sort -n | head -1; }

# A project whose plan holds so many people, each of whom gets a letter of about so many bytes; approved, and not delivered.
project() { # PEOPLE BYTES FOLDER
  local count=$1 bytes=$2 folder=$3
  "$perennial" init "$folder" --preset csv > /dev/null
  cp config/practice.key "$folder/config"
  # Letters leave at whatever hour this runs, and their links lead to a host as a shop's own do.
  sed -i -e 's/^master = .*/master = { file = "config\/practice.key" }/' -e '/^quiet_hours/d' \
    -e 's/^public_url = "[^"]*"/public_url = "https:\/\/letters.fernwood.example"/' "$folder/config/perennial.toml"
  rm -r "$folder"/jobs/campaigns/* "$folder"/sql/segments/* "$folder"/sql/metrics "$folder"/sql/tests
  python3 - "$count" "$folder/data-in" <<'PY'
import sys
count, folder = int(sys.argv[1]), sys.argv[2]
names = ["Zoë", "Jürgen", "Anne-Marie", "O'Neil", "Łukasz", "Mehmet", "Sofía", "Chloé"]
with open(f"{folder}/customers.csv", "w") as out:
    print("customer_id,email,first_name,last_name,phone,locale,timezone,country,birthday,created_at,marketing_consent", file=out)
    for n in range(count):
        print(f"c{n:07},person{n}@example.org,{names[n % 8]},Last{n % 70000},,en-GB,Europe/Berlin,GB,1988-02-29,2024-01-01T00:00:00Z,true", file=out)
with open(f"{folder}/orders.csv", "w") as out:
    print("order_id,customer_id,ordered_at,total,currency,status,product,category", file=out)
    print("o1,c0000000,2024-02-01T00:00:00Z,20.00,EUR,paid,Tea,Tea", file=out)
PY
  cat > "$folder/sql/segments/everybody.sql" <<'SQL'
/* ---
key = "customer_id"
--- */
-- Everybody, for a letter each.
select c.customer_id, c.email, c.first_name, c.last_name, c.country, 'letter' as letter from customers c
SQL
  mkdir "$folder/jobs/campaigns/everybody"
  cat > "$folder/jobs/campaigns/everybody/campaign.toml" <<'TOML'
segment = "everybody"
kind = "marketing"
channel = "email"
occasion = "letter"
approval = "review"
reply_to = "hello@fernwood.example"
goal = "order within 30d"
[policy]
holdout = "0%"
TOML
  python3 - "$bytes" "$folder/jobs/campaigns/everybody" <<'PY'
import sys
size, folder = int(sys.argv[1]), sys.argv[2]
sentence = "<p>Dear {{ first_name }}, the tea you liked is back, and so is the kettle. We kept one for {{ first_name }} {{ last_name }}.</p>\n"
body, per = "", 115
while len(body) // len(sentence) * per < size - 1900:
    body += sentence
open(f"{folder}/email.html", "w").write(
    "<!doctype html><html lang=\"en\"><head><title>For {{ first_name }}</title></head><body>\n" + body
    + '''<p><a href="{{ unsubscribe_url }}">No more of these</a>, {{ brand.name }}, {{ brand.postal_address|join(', ') }}</p></body></html>\n''')
open(f"{folder}/email.txt", "w").write("Subject: For {{ first_name }}\nPreview: The tea is back\n\nDear {{ first_name }},\n\nthe tea you liked is back.\n\n{{ brand.name }}, {{ brand.postal_address|join(', ') }}\n{{ unsubscribe_url }}\n")
PY
  "$perennial" --project "$folder" pull > /dev/null
  "$perennial" --project "$folder" build > /dev/null
  local plan
  "$perennial" --project "$folder" plan everybody > "$folder/planned"
  plan=$("$perennial" --project "$folder" plans --format json | python3 -c 'import json, sys; print(json.load(sys.stdin)[0]["plan"])')
  "$perennial" --project "$folder" approve "$plan" --by bench > /dev/null
  echo "$plan"
}

# Everything as it was before the first message left.
again() { # FOLDER
  rm -rf "$1/data" && cp -r "$1/data.approved" "$1/data"
}

# Delivers it from the beginning, and prints what measure does; every letter must be accepted.
deliver() { # PLAN COUNT FOLDER
  local measured accepted
  again "$3"
  sync
  measured=$(measure "$perennial" --project "$3" deliver "$1" --format json)
  accepted=$(python3 -c 'import json, sys; print(json.load(sys.stdin)["accepted"])' < "$work/said")
  [ "$accepted" = "$2" ] || { echo "only $accepted of $2 letters were accepted" >&2; exit 1; }
  echo "$measured"
}

# smtp-sink would wait for its port in silence, and the letters go to whoever has it.
for taken in "$port" $((port + 1)); do
  ! (: < "/dev/tcp/127.0.0.1/$taken") 2> /dev/null || { echo "port $taken is in use; name another in PORT, with the next one free, too" >&2; exit 1; }
done
smtp-sink $([ "$(id -u)" = 0 ] && echo "-u nobody") "127.0.0.1:$port" 1000 &
sleep 1
export PERENNIAL__DELIVERY__SMTP__PORT=$port
for bytes in $sizes; do
  sessions=$([ "$bytes" -gt 20000 ] && echo 4 || echo 20)
  for count in $people; do
    folder=$work/$count-$bytes
    plan=$(project "$count" "$bytes" "$folder")
    cp -r "$folder/data" "$folder/data.approved"
    ours='' theirs='' peak=0
    for _ in $(seq "$rounds"); do
      measured=$(deliver "$plan" "$count" "$folder")
      read -r seconds processor memory <<< "$measured"
      ours+="$seconds $processor"$'\n' peak=$((memory > peak ? memory : peak))
      read -r seconds processor _ < <(measure smtp-source -d -s "$sessions" -m "$count" -l "$bytes" -f a@example.com -t b@example.com "127.0.0.1:$port")
      theirs+="$seconds $processor"$'\n'
    done
    read -r seconds processor < <(best <<< "${ours%$'\n'}")
    read -r their_seconds _ < <(best <<< "${theirs%$'\n'}")
    echo "deliver: $count letters of $bytes bytes: $(rate "$count" "$seconds")/s" \
      "($(awk -v p="$processor" -v n="$count" 'BEGIN { printf "%.0f", p / n * 1e6 }') µs of a processor each), peak $peak MB;" \
      "smtp-source, $sessions sessions: $(rate "$count" "$their_seconds")/s; ratio $(ratio "$their_seconds" "$seconds")"
    rm -r "$folder"
  done
done

# The same sink far away. What a careful user of lettre would write keeps as many letters under way as there are connections.
[ -n "$distance" ] || exit 0
peer=${PEER:-$work/peer}
cp Cargo.lock benches/lettre_pool    # the program's own versions
cargo build --quiet --release --manifest-path benches/lettre_pool/Cargo.toml --target-dir "$peer"
python3 benches/distance.py $((port + 1)) "$port" "$distance" &
sleep 1
export PERENNIAL__DELIVERY__SMTP__PORT=$((port + 1)) PERENNIAL__DELIVERY__SMTP__CONNECTIONS=$connections
for bytes in $sizes; do
  folder=$work/far-$bytes
  plan=$(project "$far" "$bytes" "$folder")
  cp -r "$folder/data" "$folder/data.approved"
  ours='' theirs=''
  for _ in $(seq "$rounds"); do
    ours+=$(deliver "$plan" "$far" "$folder")$'\n'
    theirs+=$(measure "$peer/release/lettre_pool" $((port + 1)) "$far" "$bytes" "$connections")$'\n'
  done
  read -r seconds _ < <(best <<< "${ours%$'\n'}")
  read -r their_seconds _ < <(best <<< "${theirs%$'\n'}")
  echo "deliver over a round trip of $distance ms, $connections connections: $far letters of $bytes bytes: $(rate "$far" "$seconds")/s;" \
    "lettre's pooled transport: $(rate "$far" "$their_seconds")/s; ratio $(ratio "$their_seconds" "$seconds")"
  rm -r "$folder"
done
