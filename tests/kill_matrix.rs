//! A process that fails at every durable step and at every act on the network, in every way: nobody is written to twice, nobody is skipped,
//! and what nobody can know is shown. Real processes, a real ledger; servers that count message ids say what arrived.
//!
//! With a ledger in PostgreSQL also while other workers deliver the same plan, and with one more fault: a worker that stands still until the
//! others have taken over what it had, and then wakes up.
//!
//! `PERENNIAL_KILL_ROUNDS` is how often each fault happens at each point, `PERENNIAL_KILL_SEED` a number the moments are drawn by. By themselves
//! they are some 700 deliveries. Thousands are soonest done by an optimised build that keeps its faults:
//!
//! ```text
//! PERENNIAL_KILL_ROUNDS=23 PERENNIAL_KILL_SEED=1 cargo test --release --test perennial --config profile.release.debug-assertions=true \
//!   --config 'profile.release.package."*".debug-assertions=false' -- --nocapture --test-threads 1 wherever
//! ```

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    io::Read,
    path::Path,
    process::{Child, Command, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use crate::support::{Folder, database::Server, oracle::Oracle, skip};

/// Cases at once.
const BESIDE: usize = 3;
/// The most messages a delivery has on the wire at once.
const OPEN: usize = 64;
/// The project's master key.
const KEY: &str = "a-key-that-stands-in-no-log-41f7c0de";
/// A delivery that takes longer hangs.
const PATIENCE: Duration = Duration::from_secs(120);

/// Where the ledger lies, and how many processes deliver from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Setting {
    /// A file.
    File,
    /// A database, and so many workers.
    Database(u64),
}

/// By which way a plan leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Mail,
    Outbox,
    Call,
}

/// Where a process fails.
#[derive(Debug, Clone, Copy)]
struct Point {
    name: &'static str,
    way: Way,
    /// How often a delivery passes it, at least.
    passed: u64,
}

/// Every durable step and every act on the network, and the way on which it is passed.
fn points(setting: Setting, letters: u64, calls: u64) -> Vec<Point> {
    let mut points = Vec::new();
    let mut add = |way, passed: u64, names: &[&'static str]| {
        // Of several workers each passes a point for its share.
        let passed = if let Setting::Database(workers) = setting { passed.div_ceil(workers * 2) } else { passed };
        points.extend(names.iter().map(|name| Point { name, way, passed }));
    };
    add(Way::Mail, 1, &["ledger.join.commit", "ledger.join.durable", "ledger.take_over.commit", "ledger.take_over.durable"]);
    add(Way::Mail, 1, &["ledger.enlist.added", "ledger.enlist.commit", "ledger.enlist.durable"]);
    add(Way::Mail, letters / 32, &["ledger.turn.begin", "ledger.turn.settled", "ledger.turn.commit", "ledger.turn.durable"]);
    add(Way::Mail, 2, &["ledger.close.commit", "ledger.close.durable"]);
    add(Way::Mail, 1, &["ledger.recover.commit", "ledger.recover.durable"]);
    add(Way::Mail, 2, &["smtp.connection.open", "smtp.connection.opened"]);
    let smtp = ["smtp.envelope.begin", "smtp.message.begin", "smtp.message.torn", "smtp.message.ended", "smtp.message.answered"];
    add(Way::Mail, letters - 1, &smtp);
    let outbox = ["outbox.file.create", "outbox.file.sync", "outbox.file.rename", "outbox.file.done"];
    add(Way::Outbox, letters - 1, &outbox);
    add(Way::Outbox, letters / 32, &["outbox.folder.sync"]);
    add(Way::Call, calls - 1, &["http.call.begin", "http.call.answered"]);
    points
}

/// How a process fails at a point.
fn faults(setting: Setting, point: &Point) -> Vec<&'static str> {
    let mut faults = match point.name.starts_with("ledger.") || point.name.starts_with("outbox.") {
        true => vec!["kill", "panic", "term", "io", "full"],
        // There is no disk to be full.
        false => vec!["kill", "panic", "term", "io"],
    };
    if matches!(setting, Setting::Database(workers) if workers > 1) {
        faults.push("stop");
    }
    faults
}

/// What whoever runs the tests asks for.
fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

/// One delivery that fails.
#[derive(Debug, Clone, Copy)]
struct Case {
    point: Point,
    fault: &'static str,
    /// At which passing of the point.
    when: u64,
    /// Whether everything is logged, and the command that lists unknown messages asked; where not, only what happens is logged.
    talkative: bool,
}

fn cases(setting: Setting, rounds: u64, letters: u64, calls: u64) -> Vec<Case> {
    let mut random = number("PERENNIAL_KILL_SEED").unwrap_or(17);
    let mut cases = Vec::new();
    for round in 0..rounds {
        for point in points(setting, letters, calls) {
            for fault in faults(setting, &point) {
                // A small linear congruential sequence: the moments differ from case to case and repeat from run to run.
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let when = 1 + (random >> 33) % point.passed;
                cases.push(Case { point, fault, when, talkative: round == 0 && matches!(fault, "io" | "panic") });
            }
        }
    }
    cases
}

/// The plans all deliveries begin with.
struct Shop {
    setting: Setting,
    /// The database it lies in.
    server: Option<Server>,
    folder: Folder,
    letters: (String, u64),
    calls: (String, u64),
    /// What may stand in no log: addresses, names of people, keys.
    canaries: HashSet<String>,
}

impl Shop {
    /// None where this machine has no such database.
    fn open(setting: Setting) -> Option<Self> {
        let mut folder = Folder::practice(1_200);
        let server = match setting {
            Setting::File => None,
            Setting::Database(_) => Some(Server::postgres()?),
        };
        if let Some(server) = &server {
            folder.with_ledger_at(&server.url());
        }
        fs::write(folder.path("config/practice.key"), KEY).unwrap();
        folder.json(&["run", "nightly"]);
        let approved = |campaign: &str| {
            let plan = folder.plan_of(campaign);
            let id = plan["plan"].as_str().unwrap().to_owned();
            folder.run(&["approve", &id, "--by", "Mara"]).ended(0);
            (id, plan["planned"].as_u64().unwrap())
        };
        let (letters, calls) = (approved("win-back"), approved("vip-handoff"));
        let people = folder.json(&["query", "select email, last_name from customers where email is not null"]);
        let texts = people.as_array().unwrap().iter().flat_map(|person| [&person["email"], &person["last_name"]]);
        let texts = texts.filter_map(|text| text.as_str()).flat_map(words).filter(|word| word.len() > 8);
        let canaries = texts.chain([KEY]).map(str::to_owned).collect();
        Some(Self { setting, server, folder, letters, calls, canaries })
    }

    /// A copy of the project, and of its ledger.
    fn copy(&self) -> Place {
        let mut folder = self.folder.for_delivery();
        let Some(server) = &self.server else { return Place { folder, database: None } };
        static NUMBER: AtomicUsize = AtomicUsize::new(0);
        let name = format!("shop_{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        // One copies at a time: whoever is connected to the original is in the way.
        static COPYING: Mutex<()> = Mutex::new(());
        let guard = COPYING.lock().unwrap();
        ask(&database(server, "template1"), &format!("create database {name} template postgres"));
        drop(guard);
        folder.with_ledger_at(&database(server, &name));
        Place { folder, database: Some((database(server, &name), database(server, "template1"), name)) }
    }

    fn plan(&self, way: Way) -> &str {
        if way == Way::Call { &self.calls.0 } else { &self.letters.0 }
    }
}

/// Where one case happens. Dropped, it is gone.
struct Place {
    folder: Folder,
    /// The address of its database, that of another to say that it should go, and its name.
    database: Option<(String, String, String)>,
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Some((_, other, name)) = &self.database {
            ask(other, &format!("drop database {name} with (force)"));
        }
    }
}

/// The address of a database of a server.
fn database(server: &Server, name: &str) -> String {
    server.url().rsplit_once('/').map(|(server, _)| format!("{server}/{name}")).unwrap()
}

/// A statement to a database.
fn ask(url: &str, statement: &str) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut connection = <sqlx::PgConnection as sqlx::Connection>::connect(url).await.unwrap();
        sqlx::raw_sql(sqlx::AssertSqlSafe(statement.to_owned())).execute(&mut connection).await.unwrap();
    });
}

/// What several runs came to.
#[derive(Debug, Default)]
struct Total {
    runs: usize,
    happened: usize,
    unknown: usize,
    most: usize,
    wrong: Vec<String>,
}

#[test]
fn wherever_it_fails_nobody_is_lost_and_nobody_is_written_to_twice() {
    matrix(Setting::File, 3);
}

#[test]
fn wherever_it_fails_with_a_ledger_in_postgresql() {
    matrix(Setting::Database(1), 1);
}

#[test]
fn wherever_one_of_four_workers_fails() {
    matrix(Setting::Database(4), 1);
}

fn matrix(setting: Setting, rounds: u64) {
    let asked = number("PERENNIAL_KILL_ROUNDS");
    let in_short = asked.is_none() && matches!(setting, Setting::Database(workers) if workers > 1);
    let rounds = asked.unwrap_or(rounds);
    let Some(shop) = Shop::open(setting) else { return skip("PostgreSQL is not installed") };
    assert!(shop.letters.1 >= 64 && shop.calls.1 >= 8, "{} letters, {} calls are too few", shop.letters.1, shop.calls.1);
    let mut cases = cases(setting, rounds, shop.letters.1, shop.calls.1);
    if in_short {
        // Every other fault at each point; each of these cases is five processes.
        cases = cases.into_iter().step_by(2).collect();
    }
    let (next, total) = (AtomicUsize::new(0), Mutex::new(Total::default()));
    std::thread::scope(|scope| {
        for _ in 0..BESIDE {
            scope.spawn(|| {
                let (mail, calls) = (Oracle::mail(), Oracle::calls());
                while let Some(case) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let outcome = fail(&shop, case, &mail, &calls);
                    let mut total = total.lock().unwrap();
                    total.runs += 1;
                    if total.runs.is_multiple_of(500) {
                        eprintln!("{setting:?}: {} of {} deliveries, {} went wrong", total.runs, cases.len(), total.wrong.len());
                    }
                    match outcome {
                        Ok((happened, unknown)) => {
                            total.happened += usize::from(happened);
                            total.unknown += unknown;
                            total.most = total.most.max(unknown);
                        }
                        Err(wrong) => total.wrong.push(format!("{case:?}: {wrong}")),
                    }
                }
            });
        }
    });
    let total = total.into_inner().unwrap();
    eprintln!(
        "{setting:?}: {} deliveries, {} faults happened, {} messages unknown, {} at most in one delivery",
        total.runs, total.happened, total.unknown, total.most
    );
    assert!(total.wrong.is_empty(), "{} of {} went wrong:\n{}", total.wrong.len(), total.runs, total.wrong.join("\n"));
    assert_eq!(total.runs, cases.len());
    // What a worker has left to do when others are quicker depends on the moment.
    let expected = if setting == Setting::Database(4) { 60 } else { 95 };
    assert!(total.happened * 100 >= total.runs * expected, "only {} of {} faults happened", total.happened, total.runs);
}

/// Delivers with a fault, then without, and looks at the account. Returns whether the fault happened, and how many messages are unknown.
fn fail(shop: &Shop, case: &Case, mail: &Oracle, calls: &Oracle) -> Result<(bool, usize), String> {
    let mut place = shop.copy();
    let folder = &mut place.folder;
    match case.point.way {
        Way::Mail => folder.send_to_port(mail.port),
        Way::Call => folder.set("PERENNIAL__DELIVERY__WEBHOOK__URL", format!("http://127.0.0.1:{}/", calls.port)),
        Way::Outbox => {}
    }
    mail.take();
    calls.take();
    let plan = shop.plan(case.point.way);
    let folder = &place.folder;
    let begin = |fault: Option<(&str, u64, &str)>| {
        let mut command = folder.command(&["deliver", plan, "--format", "json"]);
        command.env("PERENNIAL_LOG", if case.talkative { "trace" } else { "warn" });
        // Where a panic stands is known, and to find it out takes longer than the delivery.
        command.env("RUST_BACKTRACE", "0");
        if let Some((point, when, fault)) = fault {
            command.env("PERENNIAL_FAULT", format!("{point}:{when}:{fault}"));
        }
        Running::start(command)
    };
    let deliver = |fault| begin(fault).end();
    let mut logs = String::new();
    if case.point.name.starts_with("ledger.recover") {
        // There is something to recover only after a process died.
        logs += &deliver(Some(("smtp.message.ended", 1 + case.when, "kill")))?.stderr;
    }
    let failing = begin(Some((case.point.name, case.when, case.fault)));
    let workers = if let Setting::Database(workers) = shop.setting { workers } else { 1 };
    let others: Vec<Running> = (1..workers).map(|_| begin(None)).collect();
    for other in others {
        let other = other.end()?;
        if !matches!(other.code, Some(0 | 3)) {
            return Err(format!("another worker ended with {:?}: {}", other.code, other.stderr));
        }
        logs += &other.stderr;
    }
    let failed = if case.fault == "stop" { failing.wake()? } else { failing.end()? };
    let happened = failed.stderr.contains("a fault happens");
    if happened && case.fault == "full" && failed.code != Some(1) {
        return Err(format!("a full disk ended with {:?}: {}", failed.code, failed.stderr));
    }
    let after_fault = account(&place, plan)?;
    let last = deliver(None)?;
    if !matches!(last.code, Some(0 | 3)) {
        return Err(format!("the last delivery ended with {:?}: {}", last.code, last.stderr));
    }
    logs += &failed.stderr;
    logs += &last.stderr;
    if let Some(canary) = words(&logs).find(|word| shop.canaries.contains(*word)) {
        return Err(format!("`{canary}` stands in a log"));
    }

    let received = match case.point.way {
        Way::Mail => mail.take(),
        Way::Call => calls.take(),
        Way::Outbox => written(&folder.path("data/outbox")),
    };
    let states = account(&place, plan)?;
    let unknown = states.values().filter(|state| *state == "unknown").count();
    if let Some((id, count)) = received.iter().find(|(_, count)| **count > 1) {
        return Err(format!("{id} was received {count}x"));
    }
    if let Some((id, state)) = states.iter().find(|(_, state)| !matches!(state.as_str(), "accepted" | "rejected" | "cancelled" | "unknown"))
    {
        return Err(format!("{id} was skipped: {state}"));
    }
    if let Some((id, _)) = states.iter().find(|(id, state)| *state == "accepted" && !received.contains_key(*id)) {
        return Err(format!("{id} counts as accepted and was not received"));
    }
    if let Some(id) = received.keys().find(|id| !states.get(*id).is_some_and(|state| state == "accepted" || state == "unknown")) {
        return Err(format!("{id} was received, and the account says {:?}", states.get(id)));
    }
    if unknown > OPEN {
        return Err(format!("{unknown} messages are unknown"));
    }
    if unknown > 0 && (case.fault == "term" && !case.point.name.starts_with("ledger.recover") || case.point.way == Way::Outbox) {
        return Err(format!("{unknown} messages are unknown after {}; before: {after_fault:?}", case.fault));
    }
    if case.talkative {
        let shown = folder.run(&["unknown", "list", "--format", "json"]).json();
        let shown = shown.as_array().map_or(0, Vec::len);
        if shown != unknown {
            return Err(format!("{shown} of {unknown} unknown messages are listed"));
        }
    }
    Ok((happened, unknown))
}

/// The words of a log, an address being one.
fn words(log: &str) -> impl Iterator<Item = &str> {
    let inside = |byte: &u8| byte.is_ascii_alphanumeric() || !byte.is_ascii() || b"@._+-".contains(byte);
    let words = log.as_bytes().chunk_by(move |one, next| inside(one) == inside(next));
    words.filter_map(|word| std::str::from_utf8(word).ok()).map(|word| word.trim_end_matches('.'))
}

/// How a process ended.
struct Ended {
    code: Option<i32>,
    stderr: String,
}

/// A process on its way to its end, however that comes.
struct Running {
    process: Child,
    stderr: JoinHandle<String>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        let mut process = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = process.stderr.take().unwrap();
        let stderr = std::thread::spawn(move || {
            let mut bytes = Vec::new();
            let _ = stderr.read_to_end(&mut bytes);
            String::from_utf8_lossy(&bytes).into_owned()
        });
        Self { process, stderr }
    }

    /// Lets it go on where it stands still, or will.
    fn wake(mut self) -> Result<Ended, String> {
        let begun = Instant::now();
        while begun.elapsed() < PATIENCE && self.process.try_wait().unwrap().is_none() {
            let _ = Command::new("kill").args(["-CONT", &self.process.id().to_string()]).stderr(Stdio::null()).status();
            std::thread::sleep(Duration::from_millis(20));
        }
        self.end()
    }

    fn end(mut self) -> Result<Ended, String> {
        let code = wait(&mut self.process)?;
        Ok(Ended { code, stderr: self.stderr.join().unwrap() })
    }
}

fn wait(process: &mut Child) -> Result<Option<i32>, String> {
    let begun = Instant::now();
    loop {
        match process.try_wait().unwrap() {
            Some(status) => return Ok(status.code()),
            None if begun.elapsed() > PATIENCE => {
                let _ = process.kill();
                let _ = process.wait();
                return Err("the delivery hangs".to_owned());
            }
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    }
}

/// The state of every message of a plan, as its ledger says.
fn account(place: &Place, plan: &str) -> Result<BTreeMap<String, String>, String> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let rows: Result<Vec<(String, String)>, sqlx::Error> = runtime.block_on(async {
        let Some((url, _, _)) = &place.database else {
            let ledger = sqlx::sqlite::SqliteConnectOptions::new().filename(place.folder.path("data/ledger.db"));
            let pool = sqlx::SqlitePool::connect_with(ledger).await?;
            let rows = sqlx::query_as("select message_id, state from recipients where plan = ?").bind(plan).fetch_all(&pool).await;
            pool.close().await;
            return rows;
        };
        let pool = sqlx::PgPool::connect(url).await?;
        let states = "select message_id::text, state::text from perennial.recipients where plan = $1";
        let rows = sqlx::query_as(states).bind(plan).fetch_all(&pool).await;
        pool.close().await;
        rows
    });
    Ok(rows.map_err(|error| error.to_string())?.into_iter().collect())
}

/// The ids of the messages in an outbox.
fn written(outbox: &Path) -> BTreeMap<String, usize> {
    let files = fs::read_dir(outbox).into_iter().flatten().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    files.filter_map(|file| file.strip_suffix(".eml").map(|id| (id.to_owned(), 1))).collect()
}
