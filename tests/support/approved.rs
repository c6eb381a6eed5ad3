//! A plan somebody agreed to, to be delivered as often as a test likes, and the account that must balance whatever happened.

use std::{
    collections::BTreeMap,
    path::Path,
    sync::{Arc, Mutex, Weak},
};

use serde_json::Value;

use super::{Answer, Folder, mailbox};

/// A project with an approved plan.
pub(crate) struct Approved {
    folder: Folder,
    pub(crate) plan: String,
    planned: usize,
    /// Whom each letter is for, by its id. Whoever shares an address with somebody before them gets none.
    pub(crate) letters: BTreeMap<String, String>,
}

/// The practice shop's plan, while a test works with it.
static SHOP: Mutex<Weak<Approved>> = Mutex::new(Weak::new());

impl Approved {
    /// A small practice shop's letters to people who stayed away; the tests that run at the same time share it.
    pub(crate) fn practice() -> Arc<Self> {
        // A test that failed while it built the shop leaves nothing half done here.
        let mut shared = SHOP.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(shop) = shared.upgrade() {
            return shop;
        }
        let folder = Folder::practice(600);
        folder.json(&["run", "nightly"]);
        let shop = Arc::new(Self::of(folder, "win-back"));
        assert!(shop.letters.len() >= 40, "{} letters are too few", shop.letters.len());
        *shared = Arc::downgrade(&shop);
        shop
    }

    /// The open plan of a campaign, which is approved here.
    pub(crate) fn of(folder: Folder, campaign: &str) -> Self {
        let plan = folder.plan_of(campaign);
        let id = plan["plan"].as_str().unwrap().to_owned();
        folder.run(&["approve", &id, "--by", "Mara"]).ended(0);
        let planned = usize::try_from(plan["planned"].as_u64().unwrap()).unwrap();
        let approved = Self { folder, plan: id, planned, letters: BTreeMap::new() };
        // What a delivery to a folder writes is what every other delivery sends.
        let outbox = approved.copy();
        outbox.json(&["deliver", &approved.plan]);
        let letters = mailbox::letters(&outbox.path("data/outbox")).into_iter().map(|letter| (letter.id, letter.to)).collect();
        Self { letters, ..approved }
    }

    /// The project.
    pub(crate) fn project(&self) -> &Path {
        self.folder.root.path()
    }

    /// A copy of all a delivery reads and writes.
    pub(crate) fn copy(&self) -> Folder {
        self.folder.for_delivery()
    }

    /// Delivers, and looks at the account: everybody planned stands there once, nobody is left in hand, what is printed is what the ledger
    /// says, and the exit code is the contract's.
    #[track_caller]
    pub(crate) fn deliver(&self, folder: &Folder, more: &[&str]) -> Delivered {
        let answer = folder.run(&[&["deliver", &self.plan, "--format", "json"], more].concat());
        let said = answer.json();
        let lines = lines(folder, &self.plan);
        let count = |state: &str| lines.values().filter(|line| line.state == state).count();
        let states = ["accepted", "rejected", "deferred", "waiting", "unknown", "cancelled", "expired"];
        assert_eq!(lines.len(), self.planned, "everybody planned stands in the account once");
        assert_eq!(states.iter().map(|state| count(state)).sum::<usize>(), self.planned, "nobody is left in hand: {lines:#?}");
        match answer.code {
            0 | 3 => {
                assert_eq!(said["planned"], self.planned, "{said}");
                for state in states {
                    assert_eq!(said[state], count(state), "{state}: {said}");
                }
                let run = |state: &str| said["this_run"][state].as_u64().unwrap();
                let partly = ["rejected", "deferred", "unknown", "expired"].into_iter().any(|state| run(state) > 0);
                assert_eq!(answer.code, if partly { 3 } else { 0 }, "{said}");
            }
            1 => {
                assert_eq!(said["error"]["code"], "transport", "{said}");
                assert!(said["error"]["hint"].is_string() && !said["error"]["message"].as_str().unwrap().is_empty(), "{said}");
            }
            _ => panic!("{answer:#?}"),
        }
        let unknown = folder.json(&["unknown", "list"]);
        assert_eq!(unknown.as_array().map_or(0, Vec::len), count("unknown"), "every unknown outcome is shown: {unknown}");
        Delivered { answer, said, lines }
    }
}

/// What a delivery came to.
#[derive(Debug)]
pub(crate) struct Delivered {
    pub(crate) answer: Answer,
    /// What it printed.
    pub(crate) said: Value,
    /// What the ledger says, by message id.
    pub(crate) lines: BTreeMap<String, Line>,
}

/// What became of one message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    pub(crate) reply: Option<String>,
}

impl Delivered {
    /// The ids of the messages in a state, in order.
    pub(crate) fn ids(&self, state: &str) -> Vec<&str> {
        self.lines.iter().filter(|(_, line)| line.state == state).map(|(id, _)| id.as_str()).collect()
    }

    pub(crate) fn count(&self, state: &str) -> usize {
        self.ids(state).len()
    }
}

/// The account of a plan, by message id.
fn lines(folder: &Folder, plan: &str) -> BTreeMap<String, Line> {
    let rows: Vec<(String, String, Option<String>, Option<String>)> = ledger(folder, async |pool| {
        sqlx::query_as("select message_id, state, reason, reply from recipients where plan = ?").bind(plan).fetch_all(pool).await.unwrap()
    });
    rows.into_iter().map(|(id, state, reason, reply)| (id, Line { state, reason, reply })).collect()
}

/// Lets the time of the next try come for whoever is deferred.
pub(crate) fn let_time_pass(folder: &Folder) {
    ledger(folder, async |pool| {
        let update = "update recipients set next_try_at = 0 where state = 'deferred'";
        sqlx::query(update).execute(pool).await.unwrap();
    });
}

/// Asks a project's ledger.
fn ledger<T>(folder: &Folder, ask: impl AsyncFnOnce(&sqlx::SqlitePool) -> T) -> T {
    let file = sqlx::sqlite::SqliteConnectOptions::new().filename(folder.path("data/ledger.db"));
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(async {
        let pool = sqlx::SqlitePool::connect_with(file).await.unwrap();
        let answer = ask(&pool).await;
        pool.close().await;
        answer
    })
}
