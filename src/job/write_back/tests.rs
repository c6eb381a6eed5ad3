//! Writing back through the ledger to a CRM with a CRM's own rules, and to one that breaks off whenever it likes.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use proptest::prelude::*;
use serde_json::Value;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::{TcpListener, TcpStream},
    sync::Notify,
};

use super::{
    super::tests::{at, house as opened},
    *,
};
use crate::{
    clock::ManualClock,
    diagnosis::Exit,
    ledger::{NewSuppression, Scope, address_hash, fixture},
    project::Project,
};

/// How a call goes wrong. `taken` says whether the CRM acted on it all the same.
#[derive(Debug, Clone)]
enum Fault {
    Status(u16, &'static str, bool),
    /// The connection ends without an answer.
    HangUp {
        taken: bool,
    },
    /// No answer comes until the caller is killed.
    Die {
        taken: bool,
    },
}

#[derive(Debug, Default)]
struct World {
    /// How often each contact was unsubscribed; who is not here is not known.
    contacts: BTreeMap<String, u32>,
    faults: VecDeque<Fault>,
    /// Each call as it came: method and path, idempotency key, body.
    calls: Vec<(String, String, Value)>,
    /// How many calls a token is good for; none where nobody is asked.
    token_lives: Option<u32>,
    tokens: u32,
    token_used: u32,
}

/// A CRM on loopback: `/contacts/<email>`, `/token`.
struct Crm {
    base: String,
    world: Arc<Mutex<World>>,
    died: Arc<Notify>,
    server: tokio::task::JoinHandle<()>,
}

impl Drop for Crm {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl Crm {
    async fn start(contacts: &[String]) -> Self {
        let world = World { contacts: contacts.iter().map(|email| (email.clone(), 0)).collect(), ..World::default() };
        let (world, died) = (Arc::new(Mutex::new(world)), Arc::new(Notify::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let (shared, dies) = (Arc::clone(&world), Arc::clone(&died));
        let server = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(answer(stream, Arc::clone(&shared), Arc::clone(&dies)));
            }
        });
        Self { base, world, died, server }
    }

    fn calls(&self) -> Vec<(String, String, Value)> {
        self.world.lock().unwrap().calls.clone()
    }

    fn told(&self) -> BTreeMap<String, u32> {
        self.world.lock().unwrap().contacts.clone()
    }

    fn fault(&self, fault: Fault) {
        self.world.lock().unwrap().faults.push_back(fault);
    }
}

/// One call on a connection of its own.
async fn answer(stream: TcpStream, world: Arc<Mutex<World>>, died: Arc<Notify>) {
    let mut stream = BufReader::new(stream);
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await.unwrap_or(0) == 0 {
            return;
        }
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let found = head.iter().filter_map(|line| line.split_once(": ")).find(|(found, _)| found.eq_ignore_ascii_case(name));
        found.map(|(_, value)| value.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).await.unwrap();
    let call = head[0].rsplit_once(' ').unwrap().0.to_owned();
    let (status, extra, text) = match reply(&call, &header, &body, &world) {
        Ok(reply) => reply,
        Err(dies) => {
            if dies {
                died.notify_one();
                std::future::pending::<()>().await;
            }
            return;
        }
    };
    let answer = format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n{extra}\r\n{text}", text.len());
    let _ = stream.write_all(answer.as_bytes()).await;
}

/// Status, further headers and body; `Err` where none comes, and whether the caller is killed.
fn reply(call: &str, header: &impl Fn(&str) -> Option<String>, body: &[u8], world: &Mutex<World>) -> Result<(u16, String, String), bool> {
    let mut world = world.lock().unwrap();
    let plain = |status: u16, text: &str| Ok((status, String::new(), text.to_owned()));
    if call.ends_with("/token") {
        world.tokens += 1;
        world.token_used = 0;
        return plain(200, &format!("{{\"access_token\": \"access-{}\", \"expires_in\": 3600}}", world.tokens));
    }
    let key = header("idempotency-key").unwrap_or_default();
    world.calls.push((call.to_owned(), key, serde_json::from_slice(body).unwrap_or(Value::Null)));
    if let Some(lives) = world.token_lives {
        world.token_used += 1;
        let good = header("authorization") == Some(format!("Bearer access-{}", world.tokens)) && world.token_used <= lives;
        if !good {
            return plain(401, "{\"message\": \"expired\"}");
        }
    }
    let email = call.rsplit_once('/').unwrap().1.replace("%40", "@");
    let fault = world.faults.pop_front();
    let taken = match &fault {
        None => true,
        Some(Fault::Status(_, _, taken) | Fault::HangUp { taken } | Fault::Die { taken }) => *taken,
    };
    let known = world.contacts.get_mut(&email);
    let is_known = known.is_some();
    if let Some(count) = known.filter(|_| taken) {
        *count += 1;
    }
    match fault {
        Some(Fault::Status(status, extra, _)) => {
            let said = format!("{{\"message\": \"no, {email} may not\"}}");
            Ok((status, extra.to_owned(), said))
        }
        Some(Fault::HangUp { .. }) => Err(false),
        Some(Fault::Die { .. }) => Err(true),
        None if is_known => plain(200, "{}"),
        None => plain(404, "{\"message\": \"no such contact\"}"),
    }
}

fn email(number: usize) -> String {
    format!("p{number}@example.org")
}

const PUT: &str = "method = \"put\"\nok = [404]\nbody = { unsubscribed = true, reason = \"{reason}\" }";
const POST: &str = "method = \"post\"\nok = [404]\nbody = { unsubscribed = true, reason = \"{reason}\" }";

/// A project whose CRM is told of people who were suppressed by hand.
struct Scene {
    root: tempfile::TempDir,
    clock: Arc<ManualClock>,
    house: House,
    crm: Crm,
}

impl Scene {
    async fn new(people: usize, top: &str, section: &str) -> Self {
        let crm = Crm::start(&(0..people).map(email).collect::<Vec<_>>()).await;
        let top = top.replace("BASE", &crm.base);
        let base = &crm.base;
        let settings = format!(
            "kind = \"http\"\nbase_url = \"{base}\"\nretry = {{ attempts = 2, wait = \"0s\" }}\n{top}\n\
             [write_back.stop]\nwhen = [\"manual\"]\npath = \"/contacts/{{email}}\"\n{section}\n"
        );
        let job = "schedule = \"0 * * * *\"\ntimezone = \"UTC\"\nsteps = [\"write_back\"]\n";
        let (root, clock, before, _) = opened("2026-11-22T01:20:00Z", job).await;
        drop(before);
        std::fs::write(root.path().join("config/sources/desk.toml"), settings).unwrap();
        let project = Project::open(Folder::new(root.path(), None, std::iter::empty()), clock.clone()).unwrap();
        let scene = Self { house: House::open(project).await.unwrap(), root, clock, crm };
        for number in 0..people {
            scene.suppress(&email(number)).await;
        }
        scene
    }

    async fn suppress(&self, address: &str) {
        let new = NewSuppression {
            customer_id: None,
            address_hash: Some(address_hash(self.house.project.keys(), address)),
            address: Some(address.to_owned()),
            channel: "email".into(),
            scope: Scope::All,
            reason: "manual".into(),
            by: None,
        };
        self.house.ledger.suppress(&new, at("2026-11-22T01:00:00Z")).await.unwrap();
    }

    async fn tell(&self) -> WrittenBack {
        let wrote = write_back(&self.house, None, false).await.unwrap();
        assert!(wrote.failures.is_empty(), "{:?}", wrote.failures);
        wrote.sections.into_iter().next().unwrap()
    }

    /// As the program is run, until the CRM kills it.
    async fn tell_until_killed(&self) -> Option<WroteBack> {
        tokio::select! {
            wrote = write_back(&self.house, None, false) => Some(wrote.unwrap()),
            () = self.crm.died.notified() => None,
        }
    }

    async fn standing(&self) -> WriteBackStanding {
        write_back_standing(&self.house).await.unwrap().remove(0).standing
    }
}

/// Told, not there, waiting, unknown.
fn counts(done: &WrittenBack) -> [u64; 4] {
    [done.told, done.not_there, done.waiting, done.unknown]
}

#[tokio::test]
async fn whoever_wants_no_letters_is_told_of_once() {
    let scene = Scene::new(2, "", PUT).await;
    assert_eq!(scene.standing().await.waiting, 2);
    assert_eq!(counts(&scene.tell().await), [2, 0, 0, 0]);
    let (call, key, body) = scene.crm.calls().remove(0);
    assert_eq!((call.as_str(), body), ("PUT /contacts/p0%40example.org", serde_json::json!({"unsubscribed": true, "reason": "manual"})));
    assert_eq!(key.len(), 32);
    assert_eq!(counts(&scene.tell().await), [0, 0, 0, 0]);
    assert_eq!(scene.crm.calls().len(), 2);
    assert_eq!(scene.standing().await, WriteBackStanding::default());
}

#[tokio::test]
async fn whom_the_system_does_not_know_it_is_not_asked_about_again() {
    let scene = Scene::new(1, "", PUT).await;
    scene.suppress("stranger@example.org").await;
    assert_eq!(counts(&scene.tell().await), [1, 1, 0, 0]);
    assert_eq!(counts(&scene.tell().await), [0, 0, 0, 0]);
    assert_eq!(scene.crm.calls().len(), 2);
}

#[tokio::test]
async fn a_busy_system_is_waited_for_and_an_expired_token_renewed() {
    let auth = "auth = { client_credentials = { token_url = \"BASE/token\", client_id = \"me\", client_secret = { file = \"config/practice.token\" } } }";
    let scene = Scene::new(3, auth, POST).await;
    scene.crm.world.lock().unwrap().token_lives = Some(2);
    scene.crm.fault(Fault::Status(429, "retry-after: 0.1\r\n", false));
    let begun = std::time::Instant::now();
    assert_eq!(counts(&scene.tell().await), [3, 0, 0, 0]);
    assert!(begun.elapsed() >= Duration::from_millis(100), "it was waited for");
    assert!(scene.crm.told().values().all(|count| *count == 1), "{:?}", scene.crm.told());
    assert_eq!(scene.crm.world.lock().unwrap().tokens, 2);
}

#[tokio::test]
async fn what_was_refused_waits_with_the_reason_and_without_the_address() {
    let scene = Scene::new(2, "", POST).await;
    scene.crm.fault(Fault::Status(422, "", false));
    let done = scene.tell().await;
    assert_eq!((counts(&done), done.partly), ([1, 0, 1, 0], true));
    let standing = scene.standing().await;
    assert_eq!((standing.failed, standing.reason.as_deref()), (1, Some("answered 422: no, •••• may not")));
    assert_eq!(counts(&scene.tell().await), [1, 0, 0, 0]);
    assert!(scene.crm.told().values().all(|count| *count == 1));
}

#[tokio::test]
async fn a_system_that_lets_nobody_in_or_is_away_is_left_alone_and_nobody_is_forgotten() {
    let scene = Scene::new(5, "", PUT).await;
    let ends = async |faults: &[Fault], calls: usize, words: &str| {
        let before = scene.crm.calls().len();
        faults.iter().for_each(|fault| scene.crm.fault(fault.clone()));
        let wrote = write_back(&scene.house, None, false).await.unwrap();
        let failure = &wrote.failures[0];
        assert_eq!((failure.exit, failure.diagnosis.code.as_str()), (Exit::Failed, "write_back"));
        assert!(failure.diagnosis.message.contains(words), "{failure}");
        assert!(failure.diagnosis.hint.as_ref().unwrap().contains("waits for the next run"));
        assert_eq!(counts(&wrote.sections[0]), [0, 0, 5, 0], "{words}");
        assert_eq!(scene.crm.calls().len() - before, calls, "{words}");
    };
    ends(&[Fault::Status(401, "", false)], 1, "answered 401").await;
    ends(&[Fault::Status(302, "location: https://elsewhere.example/\r\n", false)], 1, "redirects").await;
    ends(&[Fault::Status(429, "retry-after: 3600\r\n", false)], 1, "asks to be left alone for 3600 s").await;
    // Two attempts each.
    ends(&vec![Fault::Status(500, "", false); 6], 6, "answered 500, 3 times in a row").await;
    assert_eq!(counts(&scene.tell().await), [5, 0, 0, 0]);
}

#[tokio::test]
async fn a_system_that_cannot_be_reached_gets_nobody_marked_as_unknown() {
    let mut scene = Scene::new(2, "", POST).await;
    scene.crm = Crm::start(&[]).await;
    let wrote = write_back(&scene.house, None, false).await.unwrap();
    assert!(wrote.failures[0].diagnosis.message.contains("cannot be reached"), "{}", wrote.failures[0]);
    assert_eq!(counts(&wrote.sections[0]), [0, 0, 2, 0]);
}

#[tokio::test]
async fn a_call_that_may_have_been_taken_is_repeated_only_where_that_does_no_harm() {
    for (section, after) in [(PUT, [1, 0, 0, 0]), (POST, [0, 0, 0, 1])] {
        for fault in [Fault::HangUp { taken: true }, Fault::Status(504, "", true)] {
            let scene = Scene::new(1, "", section).await;
            scene.crm.fault(fault);
            assert_eq!(counts(&scene.tell().await), after);
            let keys: Vec<String> = scene.crm.calls().into_iter().map(|(_, key, _)| key).collect();
            assert!(keys.iter().all(|key| *key == keys[0]), "a careful system can tell a repetition");
            assert_eq!(keys.len(), if section == PUT { 2 } else { 1 });
            assert_eq!(counts(&scene.tell().await), [0, 0, 0, after[3]], "it stays shown");
            let wrote = write_back(&scene.house, None, true).await.unwrap();
            assert_eq!(counts(&wrote.sections[0]), [after[3], 0, 0, 0], "unless somebody says: again");
        }
    }
}

#[tokio::test]
async fn a_process_killed_between_intent_and_outcome_leaves_what_nobody_can_know() {
    for (section, after, calls) in [(PUT, [2, 0, 0, 0], 3), (POST, [1, 0, 0, 1], 2)] {
        let scene = Scene::new(2, "", section).await;
        scene.crm.fault(Fault::Die { taken: true });
        assert!(scene.tell_until_killed().await.is_none());
        assert_eq!(fixture::number(&scene.house.ledger, "select count(*) from write_backs where state = 'telling'").await, 1);
        let done = scene.tell().await;
        assert_eq!((counts(&done), done.partly), (after, section == POST));
        assert_eq!(scene.crm.calls().len(), calls);
    }
}

#[tokio::test]
async fn nobody_outside_only_to_is_told_of_and_with_the_practice_keys_no_other_machine() {
    let mut scene = Scene::new(2, "", PUT).await;
    let reopen = |base: &str| {
        let file = scene.root.path().join("config/sources/desk.toml");
        std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace(&scene.crm.base, base)).unwrap();
        let variables = [("PERENNIAL__DELIVERY__ONLY_TO".to_owned(), "[\"P1@*\"]".to_owned())];
        Project::open(Folder::new(scene.root.path(), None, variables.into_iter()), scene.house.project.clock().clone()).unwrap()
    };
    let limited = House::open(reopen(&scene.crm.base)).await.unwrap();
    let wrote = write_back(&limited, None, false).await.unwrap();
    assert_eq!(counts(&wrote.sections[0]), [1, 0, 1, 0]);
    assert_eq!(scene.crm.told().values().copied().collect::<Vec<_>>(), [0, 1]);
    let far = reopen("https://crm.example");
    scene.house = House::open(far).await.unwrap();
    let wrote = write_back(&scene.house, None, false).await.unwrap();
    assert_eq!((wrote.failures[0].exit, wrote.failures[0].diagnosis.code.as_str()), (Exit::Wrong, "practice"));
    assert_eq!(fixture::number(&scene.house.ledger, "select count(*) from write_backs").await, 1);
}

#[tokio::test]
async fn one_process_writes_back_at_a_time() {
    let scene = Scene::new(1, "", PUT).await;
    let held = JobLock::of_write_back(&scene.house.project).await.unwrap();
    assert_eq!(write_back(&scene.house, None, false).await.unwrap_err().exit, Exit::Busy);
    drop(held);
    assert_eq!(counts(&scene.tell().await), [1, 0, 0, 0]);
    let unknown = write_back(&scene.house, Some("dusk"), false).await.unwrap_err();
    assert_eq!((unknown.exit, unknown.diagnosis.hint.as_deref()), (Exit::Wrong, Some("did you mean `desk`?")));
    assert_eq!(write_back(&scene.house, Some("shop"), false).await.unwrap_err().diagnosis.code, "no_write_back");
}

#[tokio::test]
async fn a_run_writes_back_only_where_it_delivers() {
    use super::super::{Job, Moment, Step, run};
    let scene = Scene::new(1, "", PUT).await;
    let job = Job::load_all(scene.house.project.folder()).unwrap().remove(0);
    let moment = Moment::of(&scene.house.project, Some(&job), Step::Plan, None).unwrap();
    let told = async |minute, deliver| {
        scene.clock.set(at(&format!("2026-11-22T01:{minute}:00Z")));
        let outcome = run(&scene.house, &job, moment, deliver, crate::source::Progress::lines()).await.unwrap();
        assert_eq!(outcome.exit(), Exit::Done);
        outcome.written_back.iter().map(|one| one.told).sum::<u64>()
    };
    assert_eq!([told(21, false).await, told(22, true).await, told(23, true).await], [0, 1, 0]);
    let replay = Moment { replay: true, ..moment };
    scene.suppress("p9@example.org").await;
    scene.clock.set(at("2026-11-22T01:24:00Z"));
    let outcome = run(&scene.house, &job, replay, true, crate::source::Progress::lines()).await.unwrap();
    assert!(outcome.written_back.is_empty());
    assert!(unheard(scene.house.project.folder()).is_empty());
    let file = scene.root.path().join("jobs/job.toml");
    std::fs::write(&file, std::fs::read_to_string(&file).unwrap().replace("write_back", "tidy")).unwrap();
    assert_eq!(unheard(scene.house.project.folder())[0].diagnosis.code, "no_write_back_step");
}

fn fault() -> impl Strategy<Value = Option<Fault>> {
    prop_oneof![
        3 => Just(None),
        1 => Just(Some(Fault::Status(500, "", false))),
        1 => Just(Some(Fault::Status(400, "", false))),
        1 => any::<bool>().prop_map(|taken| Some(Fault::Status(502, "", taken))),
        2 => any::<bool>().prop_map(|taken| Some(Fault::HangUp { taken })),
        2 => any::<bool>().prop_map(|taken| Some(Fault::Die { taken })),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    /// Whatever goes wrong, and wherever the process is killed: in the end everybody was told of or stands there as unknown. What may be
    /// repeated is never unknown; what may not was taken at most once.
    #[test]
    fn nobody_is_told_of_twice_and_nobody_is_forgotten(
        people in 1usize..5, post in any::<bool>(), faults in proptest::collection::vec(fault(), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let scene = Scene::new(people, "", if post { POST } else { PUT }).await;
            for fault in faults.into_iter() {
                match fault {
                    Some(fault) => scene.crm.fault(fault),
                    None => { scene.tell_until_killed().await; }
                }
            }
            while !scene.crm.world.lock().unwrap().faults.is_empty() {
                let before = scene.crm.calls().len();
                scene.tell_until_killed().await;
                if scene.crm.calls().len() == before {
                    break;
                }
            }
            scene.crm.world.lock().unwrap().faults.clear();
            let quiet = scene.tell().await;
            let standing = scene.standing().await;
            prop_assert_eq!((standing.waiting, standing.failed, quiet.waiting), (0, 0, 0));
            let (calls, told) = (scene.crm.calls().len(), scene.crm.told());
            let known = fixture::number(&scene.house.ledger, "select count(*) from write_backs where state = 'told'").await;
            prop_assert_eq!(known.unsigned_abs() + standing.unknown, people as u64);
            if post {
                prop_assert!(told.values().all(|count| *count <= 1), "{:?}", told);
                prop_assert!(told.values().filter(|count| **count == 0).count() as u64 <= standing.unknown);
            } else {
                prop_assert_eq!(standing.unknown, 0);
                prop_assert!(told.values().all(|count| *count >= 1), "{:?}", told);
            }
            prop_assert_eq!(counts(&scene.tell().await)[..3].to_vec(), vec![0, 0, 0]);
            prop_assert_eq!(scene.crm.calls().len(), calls);
            Ok(())
        })?;
    }
}
