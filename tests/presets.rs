//! Each preset against a fake that keeps its API's rules: all of it, then what changed, what is gone, limits, tokens that expire, and other
//! columns than declared. What the canonical tables hold must be what the fake says stands in that system.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    process::{Child, ChildStdout, Command, Stdio},
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Folder, repository, skip};

/// A fake of `tests/fakes/`, and the address it answers at.
struct Fake {
    child: Child,
    address: String,
    /// What it says of itself; where nobody listens, it could not go on.
    _says: BufReader<ChildStdout>,
}

impl Drop for Fake {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Fake {
    fn start(name: &str, options: &[&str]) -> Self {
        let file = repository().join(format!("tests/fakes/{name}.py"));
        let mut command = Command::new("python3");
        command.arg("-B").arg(file).args(options).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut address = String::new();
        let mut says = BufReader::new(child.stdout.take().unwrap());
        says.read_line(&mut address).unwrap();
        Self { child, address: address.trim().to_owned(), _says: says }
    }

    /// Acts as somebody who works in the system, or as the system itself.
    fn told(&self, action: &str, body: &Value) -> Value {
        let body = body.to_string();
        let host = self.address.trim_start_matches("http://");
        let mut asked = TcpStream::connect(host).unwrap();
        let head =
            format!("POST /_control/{action} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
        asked.write_all(head.as_bytes()).and_then(|()| asked.write_all(body.as_bytes())).unwrap();
        let mut answer = String::new();
        asked.read_to_string(&mut answer).unwrap();
        let body = answer.split_once("\r\n\r\n").map(|(_, body)| body).unwrap_or_default();
        serde_json::from_str(body).unwrap_or_else(|error| panic!("{action}: {error}: {answer}"))
    }

    fn requests(&self) -> u64 {
        self.told("stats", &json!({}))["requests"].as_u64().unwrap()
    }
}

/// What differs from preset to preset.
struct Preset {
    name: &'static str,
    /// Further options of the fake.
    options: &'static [&'static str],
    /// Whether tokens are fetched, and so are fetched again; a key that is no longer known is an error.
    fetches_tokens: bool,
    /// Tables that show deletions only when everything is read.
    sweeps: bool,
}

const USUAL: Preset = Preset { name: "", options: &[], fetches_tokens: false, sweeps: false };

/// A project with a preset that leads to a fake.
fn project(preset: &Preset, fake: &Fake) -> Folder {
    let mut folder = Folder::empty();
    let dir = folder.root.path().to_str().unwrap().to_owned();
    folder.run(&["init", &dir, "--preset", preset.name]).ended(0);
    lead(&mut folder, preset.name, fake);
    folder
}

/// Leads a preset's source to its fake, and the job to this minute.
fn lead(folder: &mut Folder, name: &str, fake: &Fake) {
    let settings = fake.told("settings", &json!({}));
    let file = folder.path(&format!("config/sources/{name}.toml"));
    let mut text = fs::read_to_string(&file).unwrap();
    for (old, new) in settings["replace"].as_object().unwrap() {
        assert!(text.contains(old.as_str()), "{name}: `{old}` does not stand in its settings");
        text = text.replace(old.as_str(), new.as_str().unwrap());
    }
    fs::write(file, text).unwrap();
    for (name, value) in settings["env"].as_object().unwrap() {
        folder.set(name, value.as_str().unwrap());
    }
    // The brand counts in EUR, and some orders were paid in something else.
    let rates = "select column1 as currency, date '2020-01-01' as date, column2 as rate
        from (values ('USD', 0.9), ('GBP', 1.2), ('JPY', 0.006), ('SEK', 0.09), ('CHF', 1.05), ('DKK', 0.13), ('CAD', 0.65), ('KWD', 2.9))";
    fs::write(folder.path(&format!("sql/staging/{name}__fx_rates.sql")), rates).unwrap();
    let job = fs::read_to_string(folder.path("jobs/nightly.toml")).unwrap();
    let scheduled = job.lines().map(|line| if line.starts_with("schedule") { "schedule = \"* * * * *\"" } else { line });
    fs::write(folder.path("jobs/nightly.toml"), scheduled.collect::<Vec<_>>().join("\n") + "\n").unwrap();
}

/// What a canonical table holds of a source, as the fake's `truth` writes it.
fn held(folder: &Folder, source: &str, table: &str, columns: &[String]) -> BTreeMap<String, BTreeMap<String, String>> {
    let list = |alias: &str| {
        let own = columns.iter().filter(|column| *column != "customer");
        own.map(|column| format!(", cast({alias}.{column} as varchar) as {column}")).collect::<String>()
    };
    let of = format!("i.customer_id = t.customer_id and i.source = '{source}'");
    let sql = match table {
        "customers" => format!(
            "select i.source_id as id{} from identities i join customers t on t.customer_id = i.customer_id
             where i.source = '{source}' and t.deleted_at is null",
            list("t")
        ),
        "feedback" => format!("select i.source_id as id{} from feedback t join identities i on {of}", list("t")),
        // Of several answers the newest.
        "consents" => format!(
            "select i.source_id as id{} from (
               select *, row_number() over (partition by customer_id, channel, purpose order by at desc) as nth from consents
             ) t join identities i on {of} where t.nth = 1",
            list("t")
        ),
        "order_items" => format!("select t.order_id || '/' || cast(t.line as varchar) as id{} from order_items t", list("t")),
        _ => {
            let customer = if columns.iter().any(|column| column == "customer") { ", i.source_id as customer" } else { "" };
            let key = format!("{}_id", table.trim_end_matches('s'));
            let joined = if table == "products" { String::new() } else { format!("left join identities i on {of}") };
            format!("select t.{key} as id{customer}{} from {table} t {joined}", list("t"))
        }
    };
    let rows = folder.json(&["query", &sql]);
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let row = |row: &Value| {
        let columns = row.as_object().unwrap().iter().filter(|(name, _)| *name != "id");
        (text(&row["id"]), columns.map(|(name, value)| (name.clone(), plain(&text(value)))).collect())
    };
    rows.as_array().unwrap().iter().map(row).collect()
}

/// `12.3400` and `12.34` are one amount.
fn plain(text: &str) -> String {
    let number = text.contains('.') && text.chars().all(|c| c.is_ascii_digit() || c == '.' || c == '-');
    if number { text.trim_end_matches('0').trim_end_matches('.').to_owned() } else { text.to_owned() }
}

/// Pulls and builds, and compares every table the fake knows of.
#[track_caller]
fn same(folder: &Folder, source: &str, fake: &Fake, when: &str) {
    let truth = fake.told("truth", &json!({}));
    let tables: Vec<&str> = truth.as_object().unwrap().keys().map(String::as_str).collect();
    assert!(!tables.is_empty());
    folder.run(&[&["build", "identities"], tables.as_slice()].concat()).ended(0);
    for (table, rows) in truth.as_object().unwrap() {
        let rows = rows.as_object().unwrap();
        let columns: Vec<String> = rows.values().next().map(|row| row.as_object().unwrap().keys().cloned().collect()).unwrap_or_default();
        let held = held(folder, source, table, &columns);
        let missing: Vec<&String> = rows.keys().filter(|id| !held.contains_key(*id)).collect();
        let extra: Vec<&String> = held.keys().filter(|id| !rows.contains_key(*id)).collect();
        assert!(missing.is_empty() && extra.is_empty(), "{source}, {when}: {table} lacks {missing:?} and has {extra:?} too many");
        for (id, row) in rows {
            for (column, value) in row.as_object().unwrap() {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                assert_eq!(held[id][column], plain(&value), "{source}, {when}: {table} {id}, {column}");
            }
        }
    }
}

/// Pulls until what the API shows late has come.
fn pull(folder: &Folder, arguments: &[&str]) {
    std::thread::sleep(Duration::from_millis(2500));
    folder.run(&[&["pull"], arguments].concat()).ended(0);
}

fn lives(preset: &Preset) {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("python3 is not installed");
    }
    let name = preset.name;
    let fake = Fake::start(name, preset.options);
    let folder = project(preset, &fake);
    folder.run(&["check"]).ended(0);

    pull(&folder, &[]);
    let first = fake.requests();
    same(&folder, name, &fake, "after the first load");
    own_tests(&folder, name);

    let before = fake.requests();
    pull(&folder, &[]);
    assert!(fake.requests() - before <= first, "{name}: what did not change is not asked for again");
    same(&folder, name, &fake, "when nothing changed");

    for action in ["update", "insert"] {
        let ids = fake.told(action, &json!({ "count": 7 }));
        assert_eq!(ids["ids"].as_array().unwrap().len(), 7, "{name}: {action}");
        pull(&folder, &[]);
        same(&folder, name, &fake, action);
    }
    fake.told("delete", &json!({ "count": 3 }));
    pull(&folder, if preset.sweeps { &["--full"] } else { &[] });
    same(&folder, name, &fake, "delete");

    // The limits and troubles an API has now and then do not fail a night.
    fake.told("update", &json!({ "count": 2 }));
    fake.told("throttle", &json!({ "requests": 2 }));
    pull(&folder, &[]);
    fake.told("fault", &json!({ "kind": "503", "requests": 1 }));
    fake.told("fault", &json!({ "kind": "cut", "requests": 1 }));
    pull(&folder, &[]);
    same(&folder, name, &fake, "limits and troubles");
    assert!(fake.told("stats", &json!({}))["throttled"].as_u64().unwrap() >= 2);

    fake.told("expire", &json!({}));
    fake.told("insert", &json!({ "count": 2 }));
    let begun = Instant::now();
    if preset.fetches_tokens {
        pull(&folder, &[]);
        same(&folder, name, &fake, "a new token");
    } else {
        let refused = folder.run(&["pull", "--format", "json"]);
        let error = refused.json()["error"].clone();
        assert_eq!(refused.code, 1, "{name}: {error}");
        assert!(begun.elapsed() < Duration::from_secs(60), "{name}: a refused key is not tried for long");
        return other_columns(preset);
    }
    drop(folder);
    other_columns(preset);
}

/// Runs the tests of the preset's own SQL; those of the shared models are run elsewhere.
fn own_tests(folder: &Folder, name: &str) {
    let own = format!("{name}__");
    for entry in fs::read_dir(folder.path("sql/tests")).unwrap() {
        let entry = entry.unwrap();
        if !entry.file_name().to_string_lossy().starts_with(&own) {
            fs::remove_file(entry.path()).unwrap();
        }
    }
    folder.run(&["test"]).ended(0);
}

/// A field nobody declared loses nothing; one of another type stops its stream and leaves the table as it was.
fn other_columns(preset: &Preset) {
    let name = preset.name;
    let fake = Fake::start(name, preset.options);
    let folder = project(preset, &fake);
    pull(&folder, &[]);
    fake.told("schema", &json!({ "change": "new_field" }));
    fake.told("update", &json!({ "count": 5 }));
    pull(&folder, &[]);
    same(&folder, name, &fake, "a new field");
    let truth = fake.told("truth", &json!({}));
    fake.told("schema", &json!({ "change": "new_type" }));
    fake.told("update", &json!({ "count": 5 }));
    std::thread::sleep(Duration::from_millis(2500));
    let stopped = folder.run(&["pull", "--format", "json"]).ended(1);
    let told = stopped.json()["error"]["message"].as_str().unwrap().to_owned();
    assert!(told.contains(name), "{name}: {told}");
    folder.run(&["build", "identities", "customers"]).ended(0);
    let held = held(&folder, name, "customers", &[]);
    let lost: Vec<&String> = truth["customers"].as_object().unwrap().keys().filter(|id| !held.contains_key(*id)).collect();
    assert!(lost.is_empty(), "{name}: the table lost {lost:?}");
}

#[test]
fn people_met_in_several_systems_are_one() {
    if Command::new("python3").arg("--version").output().is_err() {
        return skip("python3 is not installed");
    }
    let (shop, crm) = (Fake::start("woocommerce", &[]), Fake::start("hubspot", &[]));
    let mut folder = Folder::empty();
    let dir = folder.root.path().to_str().unwrap().to_owned();
    folder.run(&["init", &dir, "--preset", "woocommerce", "--preset", "hubspot"]).ended(0);
    lead(&mut folder, "woocommerce", &shop);
    lead(&mut folder, "hubspot", &crm);
    pull(&folder, &[]);
    folder.run(&["build", "identities", "customers"]).ended(0);
    let count = |sql: &str| folder.json(&["query", sql])[0]["n"].as_u64().unwrap();
    let both = "select customer_id from identities group by customer_id having count(distinct source) = 2";
    assert!(count(&format!("select count(*) as n from ({both})")) > 100);
    let twice = "select lower(email) as address from customers where email is not null group by lower(email) having count(*) > 1";
    assert_eq!(count(&format!("select count(*) as n from ({twice})")), 0, "an address is one person");
}

#[test]
fn freshdesk() {
    lives(&Preset { name: "freshdesk", ..USUAL });
}

#[test]
fn hubspot() {
    lives(&Preset { name: "hubspot", sweeps: true, ..USUAL });
}

#[test]
fn klaviyo() {
    lives(&Preset { name: "klaviyo", sweeps: true, ..USUAL });
}

#[test]
fn salesforce() {
    lives(&Preset { name: "salesforce", fetches_tokens: true, ..USUAL });
}

#[test]
fn shopify() {
    lives(&Preset { name: "shopify", fetches_tokens: true, sweeps: true, ..USUAL });
}

#[test]
fn shopify_rest() {
    lives(&Preset { name: "shopify_rest", fetches_tokens: true, sweeps: true, ..USUAL });
}

#[test]
fn stripe() {
    lives(&Preset { name: "stripe", ..USUAL });
}

#[test]
fn woocommerce() {
    lives(&Preset { name: "woocommerce", sweeps: true, ..USUAL });
}

#[test]
fn zendesk() {
    lives(&Preset { name: "zendesk", options: &["--exports-per-minute", "1000"], ..USUAL });
}
