//! Everything a person can get wrong ends with the right exit code and words that say what, where and what to do; and loses nothing.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::TcpListener,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use chrono::{DateTime, TimeDelta, Utc};
use perennial::{
    campaign,
    clock::{Clock, ManualClock},
    config::Folder as Settings,
    diagnosis::Exit,
    job::{self, House, Job, Moment, RunOutcome, Step},
    ledger::{PlanRecord, PlanStatus},
    project::Project,
    source::Progress,
};
use serde_json::Value;

use crate::support::{Answer, Folder, skip};

/// An HTTP server that answers every request with the same bytes and counts them.
fn answering(reply: Vec<u8>) -> (u16, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let count = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&count);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut buffer = [0u8; 4096];
            if stream.read(&mut buffer).unwrap_or(0) > 0 {
                counted.fetch_add(1, Ordering::SeqCst);
                let _ = stream.write_all(&reply);
            }
        }
    });
    (port, count)
}

/// The error of a failed command, which must have words and advice.
#[track_caller]
fn error(answer: Answer, code: i32) -> Value {
    let error = answer.ended(code).json()["error"].clone();
    assert!(error["code"].is_string() && error["message"].is_string(), "{error}");
    assert!(error["hint"].is_string(), "says what to do: {error}");
    error
}

fn night(folder: &Folder) -> Answer {
    folder.run(&["run", "nightly", "--format", "json"])
}

/// Everything of the lake that a later night must find unchanged.
fn rows(folder: &Folder) -> Value {
    folder.json(&["query", "select (select count(*) from orders) as orders, (select count(*) from customers) as customers"])
}

#[test]
fn a_source_that_answers_500_for_ever_ends_the_run_and_loses_nothing() {
    let folder = Folder::practice(300);
    assert_eq!(night(&folder).ended(0).json()["status"], "done");
    let before = rows(&folder);
    let (port, count) = answering(b"HTTP/1.1 500 Internal Server Error\r\nContent-Length: 4\r\nConnection: close\r\n\r\noops".to_vec());
    folder.edit("config/sources/shop.toml", "practice://shop", &format!("http://127.0.0.1:{port}"));
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("shop"), "{error}");
    assert!(count.load(Ordering::SeqCst) > 1, "it was tried more than once");
    assert_eq!(rows(&folder), before);
    // The source is back: the next run needs no help.
    folder.edit("config/sources/shop.toml", &format!("http://127.0.0.1:{port}"), "practice://shop");
    assert_eq!(night(&folder).ended(0).json()["status"], "done");
}

#[test]
fn a_page_that_breaks_half_way_leaves_the_table_as_it_was() {
    let folder = Folder::practice(300);
    night(&folder).ended(0);
    let before = rows(&folder);
    let half = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 5000\r\nConnection: close\r\n\r\n{\"orders\":[{\"id\":\"1\",\"tot".to_vec();
    let (port, _) = answering(half);
    folder.edit("config/sources/shop.toml", "practice://shop", &format!("http://127.0.0.1:{port}"));
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("shop"), "{error}");
    assert_eq!(rows(&folder), before);
}

/// A web server over TLS that prints its port, then every token it was sent.
const SHOP_OVER_TLS: &str = r#"
import http.server, ssl, sys
class Shop(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    def do_GET(self):
        print(self.headers["Authorization"], flush=True)
        body = b'{"rows": [{"id": "1"}]}'
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *args):
        pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Shop)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain(sys.argv[1], sys.argv[2])
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
print(server.server_port, flush=True)
server.serve_forever()
"#;

#[test]
fn a_trusted_certificate_of_another_host_gets_no_token() {
    if Command::new("openssl").arg("version").output().is_err() || Command::new("python3").arg("--version").output().is_err() {
        return skip("openssl and python3 are needed");
    }
    let keys = tempfile::tempdir().unwrap();
    let openssl = |arguments: &str| {
        let made = Command::new("openssl").args(arguments.split(' ')).current_dir(keys.path()).output().unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    };
    openssl("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=authority -keyout authority.key -out authority.pem");
    for (host, trusted) in [("localhost", true), ("elsewhere.example", false)] {
        fs::write(keys.path().join("names"), format!("subjectAltName=DNS:{host}\nextendedKeyUsage=serverAuth\n")).unwrap();
        openssl(&format!("req -newkey rsa:2048 -nodes -subj /CN={host} -keyout {host}.key -out {host}.csr"));
        openssl(&format!("x509 -req -days 2 -in {host}.csr -CA authority.pem -CAkey authority.key -extfile names -out {host}.pem"));
        let mut server = Command::new("python3")
            .args(["-c", SHOP_OVER_TLS, &format!("{host}.pem"), &format!("{host}.key")])
            .current_dir(keys.path())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(server.stdout.take().unwrap()).lines();
        let port = lines.next().unwrap().unwrap();
        let mut folder = Folder::practice(10);
        folder.set("SSL_CERT_FILE", keys.path().join("authority.pem").to_str().unwrap());
        fs::write(folder.path("config/token"), "s3cret").unwrap();
        let source = format!(
            "kind = \"http\"\nbase_url = \"https://localhost:{port}\"\nauth = {{ bearer = {{ token = {{ file = \"config/token\" }} }} }}\n\
             [streams.rows]\npath = \"/\"\nrows = \"rows\"\nkey = [\"id\"]\npagination = \"none\"\n[streams.rows.columns]\nid = \"text\"\n"
        );
        fs::write(folder.path("config/sources/tls.toml"), source).unwrap();
        let answer = folder.run(&["pull", "tls", "--format", "json"]);
        if trusted {
            answer.ended(0);
            assert_eq!(lines.next().unwrap().unwrap(), "Bearer s3cret");
        } else {
            let error = error(answer, 1);
            let words = error["message"].as_str().unwrap();
            assert!(words.starts_with("tls.rows: / shows a certificate that is not trusted (") && words.contains(host), "{error}");
        }
        server.kill().unwrap();
        server.wait().unwrap();
        assert!(lines.next().is_none(), "nothing more was sent");
    }
}

#[test]
fn a_typo_in_a_segment_names_file_line_and_the_nearest_column() {
    let folder = Folder::practice(300);
    folder.edit("sql/segments/lapsed.sql", "f.quiet_days,", "f.quiet_dais,");
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let finding = checked["findings"].as_array().unwrap().iter().find(|finding| finding["severity"] == "error").unwrap().clone();
    assert_eq!(finding["file"], "sql/segments/lapsed.sql", "{finding}");
    assert!(finding["line"].as_u64().unwrap() > 1, "{finding}");
    // The other five campaigns are planned all the same, and the run says that one is missing, and that running again does not help.
    let run = night(&folder).ended(2).json();
    assert_eq!((run["error"]["code"].as_str(), run["plans"].as_array().unwrap().len()), (Some("sql_unknown_column"), 5), "{run:#}");
    let codes: Vec<_> = run["errors"].as_array().unwrap().iter().map(|error| error["code"].as_str().unwrap()).collect();
    assert_eq!(codes, ["sql_unknown_column", "segment_stale"]);
    assert_eq!(error(folder.run(&["build", "--format", "json"]), 2)["file"], "sql/segments/lapsed.sql");
    let plans = folder.json(&["plans"]);
    let campaigns: Vec<_> = plans.as_array().unwrap().iter().map(|plan| plan["campaign"].as_str().unwrap().to_owned()).collect();
    assert!(campaigns.contains(&"check-in".to_owned()) && !campaigns.contains(&"win-back".to_owned()), "{campaigns:?}");

    // Rows that fail an audit may pass it tomorrow.
    folder.edit("sql/segments/lapsed.sql", "f.quiet_dais,", "f.quiet_days,");
    folder.edit("sql/segments/lapsed.sql", "rows(0, 500000)", "rows(400000, 500000)");
    assert_eq!(error(night(&folder), 1)["code"], "audit");
    assert_eq!(error(folder.run(&["build", "--format", "json"]), 1)["code"], "audit");
}

/// A practice project whose nights pass by hand.
struct Nights {
    folder: Folder,
    clock: Arc<ManualClock>,
}

impl Nights {
    fn new() -> Self {
        Self { folder: Folder::practice(400), clock: Arc::new(ManualClock::at("2026-03-10T01:30:00Z".parse().unwrap())) }
    }

    fn pass(&self, hours: i64) {
        self.clock.set(self.clock.now() + TimeDelta::hours(hours));
    }

    /// The house as its files are now.
    async fn house(&self) -> House {
        let variables = [("PERENNIAL__SANDBOX__CUSTOMERS".to_owned(), "400".to_owned())];
        let settings = Settings::new(self.folder.root.path(), None, variables.into_iter());
        House::open(Project::open(settings, self.clock.clone()).unwrap()).await.unwrap()
    }

    async fn run(&self, job: &str, deliver: bool) -> RunOutcome {
        let house = self.house().await;
        let job = Job::load_all(house.project.folder()).unwrap().into_iter().find(|one| one.name == job).unwrap();
        let moment = Moment::of(&house.project, Some(&job), Step::Plan, None).unwrap();
        job::run(&house, &job, moment, deliver, Progress::lines()).await.unwrap()
    }

    async fn plans(&self, campaign: &str, slot: DateTime<Utc>) -> Vec<PlanRecord> {
        let mut plans = self.house().await.ledger.plans(Some(campaign)).await.unwrap();
        plans.retain(|plan| plan.as_of == slot);
        plans
    }

    /// Approves the slot's plan of a campaign.
    async fn approve(&self, campaign: &str, slot: DateTime<Utc>) -> PlanRecord {
        let (house, plan) = (self.house().await, self.plans(campaign, slot).await.remove(0));
        assert!(plan.planned > 0, "{plan:?}");
        campaign::approve(house.project.root(), &house.ledger, house.project.keys(), &plan.plan, "Mara", self.clock.now()).await.unwrap()
    }
}

fn codes(outcome: &RunOutcome) -> Vec<&str> {
    outcome.failures.iter().map(|failure| failure.diagnosis.code.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_typo_on_the_second_night_plans_nobody_on_yesterdays_people() {
    let nights = Nights::new();
    let first = nights.run("nightly", false).await;
    assert_eq!((first.exit(), first.plans.len()), (Exit::Done, 6), "{:?}", first.failures);
    nights.folder.edit("sql/segments/lapsed.sql", "f.quiet_days,", "f.quiet_dais,");
    nights.pass(24);
    let second = nights.run("nightly", false).await;
    assert_eq!((second.exit(), codes(&second)), (Exit::Wrong, vec!["sql_unknown_column", "segment_stale"]));
    assert_eq!(second.plans.len(), 5, "the others are planned");
    assert!(nights.plans("win-back", second.as_of).await.is_empty(), "somebody may have bought yesterday");
    assert_eq!(nights.plans("win-back", first.as_of).await[0].status, PlanStatus::Draft, "and nothing is lost");
    // Nor does a plan made by hand take yesterday's people.
    let house = nights.house().await;
    let moment = Moment::of(&house.project, None, Step::Plan, None).unwrap();
    let alone = job::plan(&house, moment, Some("win-back"), None, None).await.unwrap();
    assert_eq!((alone.plans.len(), alone.failures[0].diagnosis.code.as_str(), alone.failures[0].exit), (0, "segment_stale", Exit::Failed));

    nights.folder.edit("sql/segments/lapsed.sql", "f.quiet_dais,", "f.quiet_days,");
    nights.pass(1);
    let mended = nights.run("nightly", false).await;
    assert_eq!((mended.exit(), mended.plans.len(), mended.as_of), (Exit::Done, 6, second.as_of), "{:?}", mended.failures);
    assert_eq!(nights.plans("win-back", second.as_of).await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plan_that_cannot_be_delivered_stops_no_other_and_one_that_came_too_late_is_told() {
    let nights = Nights::new();
    let first = nights.run("nightly", false).await;
    nights.pass(6);
    let altered = nights.approve("check-in", first.as_of).await;
    let sound = nights.approve("first-thanks", first.as_of).await;
    let template = nights.folder.path(&format!("data/plans/{}/templates/email.txt", altered.plan));
    fs::write(&template, fs::read_to_string(&template).unwrap() + "\nPS: only today!\n").unwrap();
    nights.pass(18);
    let second = nights.run("nightly", true).await;
    assert_eq!((second.exit(), codes(&second)), (Exit::Wrong, vec!["plan_altered"]));
    assert_eq!(second.delivered.iter().map(|account| &account.plan).collect::<Vec<_>>(), [&sound.plan]);
    assert_eq!(second.plans.len(), 6, "the night goes on: {:?}", second.plans);

    // A job that plans nothing delivers all the same.
    fs::write(nights.folder.path("jobs/send.toml"), "schedule = \"0 7 * * *\"\ntimezone = \"UTC\"\nsteps = [\"tidy\"]\n").unwrap();
    let loyal = nights.approve("loyal-thanks", second.as_of).await;
    let sent = nights.run("send", true).await;
    assert_eq!((sent.delivered.iter().any(|account| account.plan == loyal.plan), codes(&sent)), (true, vec!["plan_altered"]));

    // Approved in time, and then no night came.
    let late = nights.approve("win-back", second.as_of).await;
    nights.pass(48);
    assert_eq!(nights.plans("win-back", second.as_of).await[0].clone().at(nights.clock.now()).status, PlanStatus::Expired);
    let fourth = nights.run("nightly", true).await;
    assert_eq!((fourth.exit(), codes(&fourth)), (Exit::Partly, vec![]));
    let of = |plan: &PlanRecord| fourth.delivered.iter().find(|account| account.plan == plan.plan).unwrap();
    assert_eq!((of(&late).this_run.expired, of(&late).total.expired), (late.planned, late.planned));
    assert_eq!(of(&altered).this_run.expired, altered.planned);
    nights.pass(1);
    assert_eq!(nights.run("nightly", true).await.exit(), Exit::Done, "it is told once");
}

#[test]
fn a_template_with_an_unknown_field_stops_its_plan_and_names_the_line() {
    let folder = Folder::practice(300);
    let file = "jobs/campaigns/check-in/email.txt";
    let text = fs::read_to_string(folder.path(file)).unwrap();
    fs::write(folder.path(file), format!("{text}\n{{{{ first_nmae }}}}\n")).unwrap();
    let checked = folder.run(&["check", "--offline", "--format", "json"]).ended(2).json();
    let finding = &checked["findings"][0];
    assert_eq!(finding["file"], file, "{finding}");
    assert!(finding["hint"].as_str().unwrap().contains("first_name"), "{finding}");
    let answer = night(&folder);
    assert_eq!(answer.code, 2, "{answer:#?}");
    let plans = folder.json(&["plans"]);
    assert!(plans.as_array().unwrap().iter().all(|plan| plan["campaign"] != "check-in"), "{plans}");
    assert!(plans.as_array().unwrap().iter().any(|plan| plan["campaign"] == "win-back"), "the others are planned: {plans}");
}

#[test]
fn a_null_in_one_row_excludes_that_person_and_no_other() {
    let folder = Folder::practice(1500);
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in");
    let planned = plan["planned"].as_i64().unwrap();
    let somebody = folder.json(&["query", "select customer_id from at_risk where last_product is not null order by customer_id limit 400"]);
    assert!(planned > 1 && !somebody.as_array().unwrap().is_empty());
    // A letter that needs the product's name, and one person for whom it is not known.
    let template = "jobs/campaigns/check-in/email.txt";
    let text = fs::read_to_string(folder.path(template)).unwrap();
    fs::write(folder.path(template), format!("{text}\n{{{{ tip_for_you }}}}\n")).unwrap();
    let sent_to = sent(&folder, plan["plan"].as_str().unwrap());
    let victim = sent_to[0].clone();
    let sql = fs::read_to_string(folder.path("sql/segments/at_risk.sql")).unwrap();
    let wrapped = wrap(&sql, &format!("case when customer_id = '{victim}' then null else 'a tip' end as tip_for_you"));
    fs::write(folder.path("sql/segments/at_risk.sql"), wrapped).unwrap();
    folder.edit("jobs/campaigns/check-in/campaign.toml", "max_missing = \"1%\"", "max_missing = \"20%\"");
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in");
    assert_eq!(plan["excluded"]["missing_field:tip_for_you"], 1, "{plan}");
    let now: Vec<String> = sent(&folder, plan["plan"].as_str().unwrap());
    let expected: Vec<String> = sent_to.into_iter().filter(|person| *person != victim).collect();
    assert_eq!(now, expected);
}

/// The people a plan would write to, read from its Parquet by the program's own query over the frozen file's ids.
pub(crate) fn sent(folder: &Folder, plan: &str) -> Vec<String> {
    let file = fs::File::open(folder.path(&format!("data/plans/{plan}/plan.parquet"))).unwrap();
    let reader = parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder::try_new(file).unwrap().build().unwrap();
    let mut people = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let text = |name: &str| arrow::array::AsArray::as_string::<i32>(batch.column_by_name(name).unwrap()).clone();
        let (ids, decisions) = (text("customer_id"), text("decision"));
        people.extend((0..batch.num_rows()).filter(|row| decisions.value(*row) == "send").map(|row| ids.value(row).to_owned()));
    }
    people
}

/// A segment with one more column.
fn wrap(sql: &str, column: &str) -> String {
    let (header, body) = sql.split_once("--- */").unwrap();
    format!("{header}--- */\nselect *, {column} from (\n{}\n) as segment\n", body.trim().trim_end_matches(';'))
}

#[test]
fn an_unknown_key_names_the_nearest_known_one() {
    let folder = Folder::practice(300);
    folder.edit("jobs/campaigns/win-back/campaign.toml", "occasion =", "ocasion =");
    let error = error(night(&folder), 2);
    assert_eq!(
        (error["file"].as_str(), error["code"].as_str()),
        (Some("jobs/campaigns/win-back/campaign.toml"), Some("unknown_key")),
        "{error}"
    );
    assert!(error["hint"].as_str().unwrap().contains("occasion") && error["line"].as_u64().is_some(), "{error}");
    folder.edit("jobs/campaigns/win-back/campaign.toml", "ocasion =", "occasion =");
    folder.edit("config/perennial.toml", "postal_address", "postal_adress");
    assert_eq!(self::error(night(&folder), 2)["file"], "config/perennial.toml");
}

#[test]
fn an_unwritable_data_folder_is_named() {
    let folder = Folder::practice(300);
    // A file where the folder should be: also the superuser, whom permissions do not stop, cannot write there.
    fs::write(folder.path("data"), "in the way").unwrap();
    let error = error(night(&folder), 1);
    assert!(error["message"].as_str().unwrap().contains("data") || error["file"].as_str().unwrap_or_default().contains("data"), "{error}");
    assert_eq!(fs::read_to_string(folder.path("data")).unwrap(), "in the way");
}

#[test]
fn a_stale_plan_is_not_delivered() {
    let folder = Folder::practice(600);
    for campaign in ["check-in", "win-back", "first-thanks", "loyal-thanks"] {
        let file = format!("jobs/campaigns/{campaign}/campaign.toml");
        let text = fs::read_to_string(folder.path(&file)).unwrap();
        let text: String = text.lines().filter(|line| !line.starts_with("expires")).map(|line| format!("{line}\n")).collect();
        fs::write(folder.path(&file), format!("expires = \"1s\"\n{text}")).unwrap();
    }
    night(&folder).ended(0);
    std::thread::sleep(std::time::Duration::from_millis(1500));
    let plan = folder.json(&["plans"]);
    let plan = plan.as_array().unwrap().iter().find(|plan| plan["campaign"] == "win-back").unwrap()["plan"].as_str().unwrap().to_owned();
    let error = error(folder.run(&["approve", &plan, "--by", "Mara", "--format", "json"]), 2);
    assert_eq!(error["code"], "plan_expired", "{error}");
    folder.run(&["deliver", &plan]).ended(2);
    assert!(folder.outbox().is_empty());
}

#[test]
fn a_plan_that_was_touched_after_review_is_not_delivered() {
    let folder = Folder::practice(600);
    night(&folder).ended(0);
    let plan = folder.plan_of("check-in")["plan"].as_str().unwrap().to_owned();
    folder.run(&["approve", &plan, "--by", "Mara"]).ended(0);
    let template = folder.path(&format!("data/plans/{plan}/templates/email.txt"));
    fs::write(&template, fs::read_to_string(&template).unwrap() + "\nPS: only today!\n").unwrap();
    error(folder.run(&["deliver", &plan, "--format", "json"]), 2);
    assert!(folder.outbox().is_empty());
}

#[test]
fn a_wrong_command_line_is_told_and_changes_nothing() {
    let folder = Folder::practice(300);
    assert!(error(folder.run(&["run", "nigthly", "--format", "json"]), 2)["hint"].as_str().unwrap().contains("nightly"));
    error(folder.run(&["run", "nightly", "--as-of", "soon", "--format", "json"]), 2);
    error(folder.run(&["approve", "no-such-plan", "--by", "Mara", "--format", "json"]), 2);
    error(folder.run(&["query", "delete from customers", "--format", "json"]), 2);
    folder.run(&["deliver"]).ended(2);
}
