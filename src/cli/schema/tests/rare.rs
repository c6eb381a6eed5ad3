//! What no shipped file writes, so that together with them every table is written once. These texts are read for their shape alone; some say
//! more than one project could.

/// The kind of file, and its text.
pub(super) const RARE: &[(&str, &str)] = &[
    (
        "perennial",
        r##"
[brand]
name = "Fernwood"
url = "https://fernwood.example"
domain = "fernwood.example"
from = "hello@fernwood.example"
postal_address = ["Fernwood", "1 Mill Lane"]
locale = "en-GB"
timezone = "Europe/London"
currency = "EUR"
color = "#2f5d50"
signed_by = "Mara"
phone = "+44 20 7946 0000"

[keys]
master = { env = "MASTER" }

[lake]
path = "s3://fernwood/lake"
store = { access_key_id = { env = "ID" }, secret_access_key = { file = "/run/secrets/key" }, region = "eu-central-1" }
keep_days = 30
read_only = true

[ledger]
path = "data/ledger.db"
url = { env = "LEDGER_URL" }
schema = "perennial"
lease = "60s"

[engine]
memory_limit = "60%"
max_spill = "20GiB"
spill_path = "data/spill"
partitions = 2
timeout = "1h"

[delivery]
email = "smtp"
public_url = "https://hello.fernwood.example"
only_to = ["*@fernwood.example"]
max_age = "24h"
policy = { cap = { messages = 4, within = "30d" }, fewer = "90d", quiet_hours = ["21:00", "08:00"] }
smtp = { host = "relay.example", port = 587, tls = "starttls", username = "u", password = { env = "P" }, login = "xoauth2", ca = "ca.pem", connections = 4, messages_per_connection = 100, return_path = "b@fernwood.example" }
breaker = { bounces = "4%", complaints = "0.08%", over = 500 }
shaping = { rate = { messages = 100, within = "1s" }, warm_up = [50, 100], providers.google = { domains = ["gmail.com"], rate = { messages = 20, within = "1s" }, warm_up = [20, 40], at_once = 5 } }
webhook = { url = "https://crm.example", secret = { env = "S" }, allow = ["10.0.0.1"], timeout = "30s" }

[delivery.api]
use = "ses"
values = { region = "eu-west-1" }
url = "https://ses.internal"
auth = { aws_sigv4 = { region = "{region}", service = "ses", access_key_id = { env = "I" }, secret_access_key = { env = "K" }, session_token = { file = "t" } } }
allow = ["ses.internal"]
rate = { requests = 10, per = "1s" }
timeout = "30s"

[delivery.receivers.a]
use = "slack"
values = { channel = "C1" }
auth = { bearer = { token = { file = "/run/secrets/slack" } } }
rate = { requests = 1 }

[delivery.receivers.b]
use = "slack-hook"
auth = { path = { secret = { env = "S" } } }

[delivery.receivers.c]
use = "twilio-sms"
auth = { basic = { user = "SK1", password = { env = "S" } } }

[delivery.receivers.d]
use = "mine"
auth = { header = { name = "X-Key", value = { env = "S" } } }

[delivery.receivers.e]
use = "salesforce-task"
auth = { client_credentials = { token_url = "https://x.example", client_id = { env = "C" }, client_secret = { env = "S" }, scope = "api" } }

[delivery.receivers.f]
use = "theirs"
auth = { standard_webhooks = { secret = { env = "S" } } }

[delivery.returns]
address = "bounces@fernwood.example"
soft_bounces = { messages = 3, within = "30d" }
mailboxes.one = { maildir = "mail" }
mailboxes.two = { mbox = "mbox" }
mailboxes.three.imap = { host = "imap.example", port = 993, tls = "tls", username = "u", password = { env = "P" }, folder = "INBOX", ca = "ca.pem" }
providers.one = { sendgrid = { public_key = "x" } }
providers.two = { ses = { topic = "x" } }
providers.three = { mailgun = { signing_key = { env = "M" } } }
providers.four = { postmark = { username = "u", password = { env = "P" } } }
providers.five = { standard = { secret = { env = "S" } } }

[review]
keep_days = 90

[server]
address = "127.0.0.1:8080"

[sandbox]
customers = 5000
seed = 42
"##,
    ),
    (
        "source",
        r#"
kind = "http"
base_url = "https://shop.example"
timeout = "30s"
auth = { basic = { user = { env = "U" }, password = { env = "P" } } }
headers = { accept-language = "en" }
retry = { attempts = 6, wait = "1s", max_wait = "15m" }
rate = { requests = 2, per = "1s", used = "X-Used", cost = "extensions.cost" }
budget = { requests = 20000, time = "2h" }
at_once = 2
error = { path = "errors", passing = ["THROTTLED"] }
max_page_mib = 64

[streams.orders]
path = "/orders"
method = "post"
body = { query = "{ orders }" }
rows = "data.orders"
key = ["id"]
params = { limit = "100" }
truncated = ["items.more"]
on_bad_value = "quarantine"
extra = true
max_pages = 10
pagination = { next_url = { path = "next", more = "more", end = { path = "end", is = true }, total = "total" } }
cursor = { field = "at", param = "since", until_param = "until", overlap = "5m", settle = "1m", kept = "30d", start = "2020-01-01T00:00:00Z", format = "unix_ms" }
deletes = { events = { stream = "gone", key = { id = "subject" }, at = "at", where = { verb = ["destroy", "erase"] } }, reconcile = { every = "7d" } }

[streams.orders.columns]
id = { type = "text", from = "ID", optional = true }
at = { type = "timestamp", timestamp_format = "unix", zone = "Europe/London" }
day = { type = "date", format = "%d.%m.%Y" }
total = { type = "decimal(18, 4)", round = true }
tags = ["text"]
items = [{ line = "integer", parts = ["json"] }]
place = { type = { city = "text" } }

[streams.a]
path = "/a"
key = ["id"]
columns = { id = "integer" }
pagination = { cursor_token = { param = "after", next = "next", more = "more", end = { path = "end" }, total = "total", keep_params = false } }

[streams.b]
path = "/b"
key = ["id"]
columns = { id = "integer" }
deletes = { flag = "gone" }
pagination = { last_id = { param = "after", field = "id", first = "0", more = "more", end = { path = "end" } } }

[streams.c]
path = "/c"
key = ["id"]
columns = { id = "integer" }
deletes = "flag"
pagination = { page_number = { param = "page", first = 0, pages = "pages", total = "total", size_param = "size", size = 50, at_most = 300 } }

[streams.d]
path = "/d"
key = ["id"]
columns = { id = "integer" }
pagination = { offset = { param = "from", limit_param = "limit", limit = 100, total = "total" } }

[streams.e]
path = "/e"
key = ["id"]
columns = { id = "integer" }
pagination = { keyset = { tie = "id", first = "", size = 100 } }

[streams.f]
path = "/f"
key = ["id"]
columns = { id = "integer" }
pagination = { link_header = {} }

[streams.g]
path = "/g"
key = ["id"]
columns = { id = "integer" }
pagination = "none"

[streams.h]
path = "/h"
key = ["id"]
columns = { id = "integer" }

[streams.h.pagination.job]
id = "id"
refused = "errors"
busy = "already"

[streams.h.pagination.job.poll]
path = "/jobs/{id}"
method = "get"
body = {}
state = "state"
done = ["DONE"]
failed = ["FAILED"]
error = "error"
count = "count"
every = "5s"
at_most = "1h"

[streams.h.pagination.job.result]
url = "url"
path = "/jobs/{id}/result"
format = "ndjson"
parent = { id = "__parentId", list = "items", key = "id" }
token = { param = "locator", header = "Locator", end = "null" }

[write_back.mail]
when = ["unsubscribed", "complaint"]
method = "put"
path = "/people/{email}"
body = { out = true }
ok = [404]
idempotent = true
error = { path = "errors" }
"#,
    ),
    ("source", "kind = \"http\"\nbase_url = \"https://x.example\"\nauth = { bearer = { token = { env = \"T\" } } }"),
    ("source", "kind = \"http\"\nbase_url = \"https://x.example\"\nauth = { basic = { user = \"me\", password = { env = \"T\" } } }"),
    ("source", "kind = \"http\"\nbase_url = \"https://x.example\"\nauth = { header = { name = \"N\", value = { env = \"T\" } } }"),
    ("source", "kind = \"http\"\nbase_url = \"https://x.example\"\nauth = { query = { name = \"n\", value = { file = \"f\" } } }"),
    (
        "source",
        r#"
kind = "http"
base_url = "https://x.example"

[auth.client_credentials]
token_url = "https://x.example/token"
client_id = "me"
client_secret = { env = "S" }
scope = "all"
base_url = "instance_url"
header = "X-Token"
"#,
    ),
    (
        "source",
        r#"
kind = "http"
base_url = "https://x.example"

[auth.refresh_token]
token_url = "https://x.example/token"
client_id = { env = "C" }
client_secret = { env = "S" }
token = { env = "T" }
base_url = "instance_url"
header = "X-Token"
"#,
    ),
    (
        "source",
        r#"
kind = "http"
base_url = "https://x.example"

[auth.jwt_bearer]
token_url = "https://x.example/token"
issuer = "me"
subject = "you"
audience = "https://x.example"
key = { file = "key.pem" }
key_id = "1"
scope = "all"
algorithm = "ES256"
base_url = "instance_url"
header = "X-Token"
"#,
    ),
    (
        "source",
        r#"
kind = "file"
retry = { attempts = 3 }

[store]
access_key_id = { env = "ID" }
secret_access_key = { env = "KEY" }
region = "eu-central-1"
endpoint = "https://minio.example"
allow_http = false
service_account = { file = "gcs.json" }
account = "fernwood"
key = { env = "AZURE" }
token = { env = "T" }
anonymous = false

[streams.orders]
path = "data-in/*.csv.gz"
format = "csv"
delimiter = ";"
quote = ""
header = false
rows = "data"
encoding = "cp1252"
null_values = ["", "NULL"]
key = ["id"]
mode = "merge"
new_files_only = true
row_number = "line"
file_name = "file"
deletes = "none"
on_bad_value = "widen"
extra = true
columns = { id = "text" }
"#,
    ),
    (
        "source",
        r#"
kind = "database"
url = "postgres://reader@db.example/shop"
password = { env = "P" }
tls = "verify"
ca = "ca.pem"
connections = 2
retry = { wait = "2s" }

[streams.orders]
table = "public.orders"
query = "select 1"
key = ["id"]
cursor = { field = "updated_at", overlap = "5m", settle = "1m", start = "2020-01-01" }
deletes = { reconcile = { every = "1d" } }
on_bad_value = "stop"
extra = false
page_rows = 50000
columns = { id = "text" }
"#,
    ),
    ("source", "preset = \"shopify\"\nkind = \"http\"\nbase_url = \"https://x.example\"\n[streams.orders]\nmax_pages = 5"),
    ("source", "preset = \"csv\"\n[streams.orders]\npath = \"elsewhere/*.csv\"\ncolumns = { shop = \"text\" }"),
    ("source", "preset = \"generic_database\"\nurl = \"mysql://reader@db.example/shop\"\n[streams.orders]\ntable = \"o\""),
    (
        "api",
        r#"
channel = "webhook"
url = "https://{host}/people/{customer_id}"
method = "put"
headers = { Accept = "application/json" }
form = { To = "{{ body.to }}" }
id = "/id"
says = ["/error"]
allow = ["10.0.0.1"]
rate = { requests = 10, per = "1s" }
at_once = 4
timeout = "30s"
max_body_kib = 64
max_answer_kib = 64
idempotency = { header = "Idempotency-Key", honours = true, window = "24h" }
optional = ["host"]
auth = { header = { name = "X-Key", value = { env = "S" } } }

[values]
host = "api.example"

[[answers]]
status = [200]
at = "/ok"
is = [false]
means = "rejected"

[[answers]]
header = "x-error"
contains = ["Paused"]
means = "closed"

[[answers]]
at = "/code"
is_not = [0]
means = "dead_address"
"#,
    ),
    ("api", "channel = \"webhook\"\nurl = \"https://x.example\"\nauth = \"none\""),
    ("api", "channel = \"webhook\"\nurl = \"https://x.example\"\nauth = { standard_webhooks = { secret = { env = \"S\" } } }"),
    (
        "api",
        "channel = \"webhook\"\nurl = \"https://x.example\"\nauth = { aws_sigv4 = { region = \"r\", service = \"s\", access_key_id = { env = \"I\" }, secret_access_key = { env = \"K\" }, session_token = { env = \"T\" } } }",
    ),
    (
        "api",
        "channel = \"webhook\"\nurl = \"https://x.example\"\nauth = { client_credentials = { token_url = \"https://x.example\", client_id = { env = \"C\" }, client_secret = { env = \"S\" }, scope = \"api\" } }",
    ),
    (
        "job",
        r#"
schedule = "0 2 * * *"
timezone = "Europe/London"
steps = ["pull", "build", "plan", "write_back", "tidy"]
deliver = true
catch_up = "all"
deadline = "6h"
"#,
    ),
    (
        "campaign",
        r#"
segment = "lapsed"
kind = "marketing"
channel = "email"
receiver = "sms"
occasion = "last_order_id"
step = "step"
approval = "auto"
reply_to = "hello@fernwood.example"
max_recipients = 2000
max_change = "40%"
max_missing = "0.5 %"
goal = "order within 30d"
variants = { plain = 50, offer = 50 }
offer = { variants = ["offer"], code = "COMEBACK10", text = "10 % off", valid = "14d" }
expires = "24h"
policy = { priority = 30, holdout = "10%", cool_off = "7d" }
"#,
    ),
    (
        "test",
        r#"
test = "lapsed"
file = "segments/lapsed.sql"
as_of = 2026-11-22T01:00:00Z
params = { quiet_days = 90, share = 0.5, word = "x", yes = true, since = 2026-01-01 }
brand = { timezone = "Europe/Berlin", currency = "EUR", locale = "en-GB" }
default.orders = { status = "paid" }

[[case]]
name = "words"
as_of = "2026-11-22T01:00:00Z"
params = { quiet_days = 60 }
given.customers = [{ customer_id = "c1", tags = ["a"], place = { city = "x" } }]
given.orders = "order_id\no1\n"
expect = []
expect_in.placed = [{ order_id = "o1" }]
partial = true
"#,
    ),
    (
        "front-matter",
        r#"
key = ["customer_id", "day"]
params = { quiet_days = 90, share = 0.5, word = "x", yes = true, since = 2026-01-01 }
audits = ["rows(0, 50000)"]
owner = "Ann"
description = "What it is."
inputs = { shop__orders = { max_age = "36h" } }
"#,
    ),
];
