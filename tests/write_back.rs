//! Writing back, from the click in a letter to the CRM: told once, by every id the person has there.

use std::{
    fmt::Write as _,
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    process::{Child, Stdio},
    sync::{Arc, Mutex},
    time::Duration,
};

use chrono::{Duration as Days, Utc};

use crate::support::Folder;

const CRM: &str = r#"kind = "http"
base_url = "BASE"
auth = { bearer = { token = { env = "CRM_TOKEN" } } }

[streams.contacts]
path = "/contacts"
rows = "data"
key = ["id"]
pagination = "none"

[streams.contacts.columns]
id = "text"
email = "text"

[write_back.no_letters]
when = ["unsubscribed", "manual"]
method = "post"
path = "/contacts/{source_id}/no-letters"
body = { why = "{reason}", since = "{at_ms}" }
ok = [404]
"#;

const CONTACTS: &str = "/* ---\nkey = \"customer_id\"\n--- */\n-- The CRM's contacts.\n\
                        select id as customer_id, email, _pulled_at as updated_at from crm__contacts\n";

/// A CRM that gives out its contacts and notes what it is told.
struct Crm {
    base: String,
    told: Arc<Mutex<Vec<String>>>,
}

impl Crm {
    fn start(contacts: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let told = Arc::new(Mutex::new(Vec::new()));
        let notes = Arc::clone(&told);
        std::thread::spawn(move || listener.incoming().flatten().for_each(|stream| answer(&stream, contacts, &notes)));
        Self { base, told }
    }

    fn told(&self) -> Vec<String> {
        let mut told = self.told.lock().unwrap().clone();
        told.sort();
        told
    }
}

fn answer(mut stream: &TcpStream, contacts: &str, told: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(stream);
    let (mut head, mut line) = (Vec::new(), String::new());
    while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
        head.push(line.trim().to_lowercase());
        line.clear();
    }
    let Some(call) = head.first().and_then(|first| first.strip_suffix(" http/1.1")) else { return };
    let length = head.iter().find_map(|line| line.strip_prefix("content-length: ")).map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let known = head.iter().any(|line| line == "authorization: bearer s3cret");
    let (status, text) = match call {
        _ if !known => (401, "{}"),
        "get /contacts" => (200, contacts),
        call => {
            let body: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert!(body["since"].as_i64().unwrap() > 1_700_000_000_000);
            told.lock().unwrap().push(format!("{call} {}", body["why"].as_str().unwrap()));
            (if call.contains("/9/") { 404 } else { 200 }, "{}")
        }
    };
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{text}", text.len());
    let _ = stream.write_all(answer.as_bytes());
}

/// The running server; killed where a test fails before it stops it.
struct Served(Child);

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_clicks_that_it_shall_stop_is_told_of_once_by_every_id_the_crm_has() {
    // Ann is in the CRM twice; of Zoë the CRM has a contact that is gone when it is told.
    let crm = Crm::start(
        r#"{"data": [{"id": "7", "email": "Ann@example.org"}, {"id": "8", "email": "ann@example.org"}, {"id": "9", "email": "zoe@example.org"}]}"#,
    );
    let mut folder = Folder::empty();
    let dir = folder.root.path().to_str().unwrap().to_owned();
    folder.run(&["init", &dir, "--preset", "csv"]).ended(0);
    fs::write(folder.path("config/sources/crm.toml"), CRM.replace("BASE", &crm.base)).unwrap();
    fs::write(folder.path("sql/staging/crm__customers.sql"), CONTACTS).unwrap();
    folder.edit("config/perennial.toml", "quiet_hours = [\"21:00\", \"08:00\"]", "");
    folder.edit("jobs/campaigns/win-back/campaign.toml", "holdout = \"10%\"", "holdout = \"0%\"");
    // Tables stop at the job's last slot, and what is pulled now is later than last night's.
    folder.edit("jobs/nightly.toml", "0 2 * * *", "* * * * *");
    let day = |ago: i64| (Utc::now() - Days::days(ago)).format("%Y-%m-%dT10:00:00Z").to_string();
    let mut customers =
        String::from("customer_id,email,first_name,last_name,phone,locale,timezone,country,birthday,created_at,marketing_consent\n");
    let mut orders = String::from("order_id,customer_id,ordered_at,status,currency,total,product,category\n");
    for (index, name) in ["Ann", "Zoe", "Ben"].iter().enumerate() {
        let _ = writeln!(customers, "{index},{}@example.org,{name},Doe,,,,GB,,{},yes", name.to_lowercase(), day(400));
        for (number, ago) in [300, 270, 240, 200].iter().enumerate() {
            let _ = writeln!(orders, "{index}-{number},{index},{},paid,EUR,25.50,\"Coffee, dark\",coffee", day(*ago));
        }
    }
    fs::create_dir_all(folder.path("data-in")).unwrap();
    fs::write(folder.path("data-in/customers.csv"), customers).unwrap();
    fs::write(folder.path("data-in/orders.csv"), orders).unwrap();

    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(0).json();
    assert!(checked["findings"].to_string().contains("CRM_TOKEN"), "a secret that is not set is named: {checked}");
    folder.set("CRM_TOKEN", "s3cret");
    folder.json(&["run", "nightly"]);
    let plan = folder.plan_of("win-back")["plan"].as_str().unwrap().to_owned();
    folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
    assert_eq!(folder.json(&["deliver", &plan])["accepted"], 3);

    // Ann clicks; Zoë and Ben call.
    let letters = folder.outbox().into_iter().filter(|file| file.ends_with(".eml"));
    let letters = letters.map(|file| fs::read_to_string(folder.path(&format!("data/outbox/{file}"))).unwrap().replace("\r\n ", ""));
    let letter = letters.into_iter().find(|letter| letter.to_lowercase().contains("ann@example.org")).unwrap();
    let link = letter.split("List-Unsubscribe: <").nth(1).unwrap().split('>').next().unwrap().to_owned();
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    folder.set("PERENNIAL__SERVER__ADDRESS", format!("127.0.0.1:{port}"));
    let served = Served(folder.command(&["serve", "--no-schedule"]).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap());
    let click = format!("http://127.0.0.1:{port}/u/{}", link.split("/u/").nth(1).unwrap());
    let client = reqwest::Client::new();
    let mut answered = None;
    for _ in 0..300 {
        answered = client.post(&click).body("List-Unsubscribe=One-Click").send().await.ok();
        if answered.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(answered.unwrap().status(), 200);
    drop(served);
    folder.json(&["suppress", "add", "ZOE@example.org"]);
    folder.json(&["suppress", "add", "ben@example.org"]);
    let standing = &folder.json(&["status"])["write_back"][0];
    assert_eq!((&standing["section"], &standing["waiting"]), (&"no_letters".into(), &3.into()), "{standing}");

    let run = folder.json(&["run", "nightly"]);
    assert_eq!((run["written_back"].as_array().unwrap().len(), crm.told().len()), (0, 0), "nothing leaves the house");
    let run = folder.run(&["run", "nightly", "--deliver", "--format", "json"]).ended(0);
    assert!(!run.stderr.contains("example.org") && !run.stderr.contains("s3cret"), "{}", run.stderr);
    let told = &run.json()["written_back"][0];
    assert_eq!([&told["told"], &told["not_there"], &told["waiting"], &told["unknown"]], [2, 2, 0, 0], "{told}");
    let calls =
        ["post /contacts/7/no-letters unsubscribed", "post /contacts/8/no-letters unsubscribed", "post /contacts/9/no-letters manual"];
    assert_eq!(crm.told(), calls);
    folder.run(&["run", "nightly", "--deliver"]).ended(0);
    let again = folder.run(&["write-back", "crm", "--format", "json"]).ended(0).json();
    assert_eq!(again["written_back"][0]["told"], 0, "{again}");
    assert_eq!(crm.told().len(), 3, "once");

    folder.set("CRM_TOKEN", "wr0ng");
    folder.json(&["suppress", "add", "--customer", "csv:1"]);
    let refused = folder.run(&["write-back", "--format", "json"]).ended(1).json();
    assert_eq!((&refused["error"]["code"], &refused["written_back"][0]["waiting"]), (&"write_back".into(), &1.into()), "{refused}");
    let status = folder.json(&["status"]);
    assert_eq!((&status["ok"], &status["write_back"][0]["failed"]), (&false.into(), &1.into()), "{status}");
    folder.run(&["write-back", "crmm"]).ended(2);
    folder.run(&["write-back", "csv"]).ended(2);
}
