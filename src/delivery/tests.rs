//! Whole deliveries against a real ledger: what the account says is what the world saw, whatever happens in between.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, atomic::Ordering},
};

use chrono::{DateTime, TimeDelta, Utc};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    clock::{Clock, ManualClock},
    diagnosis::{Diagnose, Exit},
    ledger::{CustomerId, Ledger, MessageId, NewSuppression, OptOut, PlanId, Scope, State, Verdict, Wish, address_hash, fixture},
    message::{Channel, Field, Kind, Message, MessageError},
    secret::{Keys, Secret},
};
use smtp::sink::{Dot, Script, Sink};

const PLAN: &str = "win-back-20261122T010000Z-00000000";

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// A project with an approved plan, at nine in the morning after the night it was made.
struct World {
    root: tempfile::TempDir,
    context: Context,
    clock: Arc<ManualClock>,
    delivery: Arc<Delivery>,
}

fn person(number: usize) -> PlannedRecipient {
    PlannedRecipient {
        customer_id: CustomerId::new(format!("p{number}")),
        message_id: MessageId::new(format!("{number:04}@fernwood.example")),
        occasion: format!("o{number}"),
        step: 1,
        variant: None,
        send_after: None,
        row: BTreeMap::from([("email".to_owned(), Field::Text(format!("p{number}@example.com")))]),
    }
}

fn letter(person: &PlannedRecipient, stamp: &Stamp) -> Result<Message, MessageError> {
    let id = person.message_id.as_str();
    let link = stamp.unsubscribe_url.as_deref().unwrap_or("none");
    let bytes = format!("Message-ID: <{id}>\r\nX-Perennial-Plan: {PLAN}\r\nList-Unsubscribe: <{link}>\r\n\r\nHello\r\n").into_bytes();
    Ok(Message::Email { subject: String::new(), preview: String::new(), html: String::new(), text: String::new(), bytes })
}

impl World {
    async fn new(people: Vec<PlannedRecipient>, settings: &str) -> Self {
        Self::of_kind(people, settings, Kind::Marketing).await
    }

    async fn of_kind(people: Vec<PlannedRecipient>, settings: &str, kind: Kind) -> Self {
        let root = tempfile::tempdir().unwrap();
        let ledger = fixture::open(root.path()).await;
        let now = at("2026-11-22T09:00:00Z");
        let as_of = at("2026-11-22T01:00:00Z");
        fixture::approved(&ledger, PLAN, kind.as_str(), people.len(), as_of, as_of + TimeDelta::hours(24)).await;
        fixture::people(&ledger, people.len(), now - TimeDelta::hours(8)).await;
        let clock = Arc::new(ManualClock::at(now));
        let settings = format!("public_url = \"http://127.0.0.1:8080\"\n{settings}");
        let context = Context {
            ledger,
            settings: toml::from_str(&settings).unwrap(),
            keys: Keys::new(Secret::new("practice")),
            clock: clock.clone(),
            root: root.path().to_owned(),
            stop: CancellationToken::new(),
        };
        let delivery = Arc::new(Delivery {
            plan: PlanId::new(PLAN),
            campaign: "win-back".into(),
            kind,
            channel: Channel::Email,
            receiver: None,
            segment: "lapsed".into(),
            as_of,
            cool_off: None,
            from: "Fernwood <hello@fernwood.example>".into(),
            timezone: chrono_tz::Europe::Berlin,
            people: Box::new(people),
            letters: Box::new(letter),
        });
        Self { root, context, clock, delivery }
    }

    fn ledger(&self) -> &Ledger {
        &self.context.ledger
    }

    async fn deliver(&self) -> Result<Account, DeliveryError> {
        deliver(&self.context, &self.delivery, Options::default()).await
    }

    async fn reasons(&self) -> BTreeMap<String, u64> {
        self.ledger().reasons(&self.delivery.plan).await.unwrap()
    }

    async fn status(&self) -> String {
        self.ledger().plan_standing(&self.delivery.plan).await.unwrap().unwrap().status
    }

    fn outbox(&self) -> BTreeSet<String> {
        let folder = self.root.path().join("data/outbox");
        let Ok(files) = std::fs::read_dir(folder) else { return BTreeSet::new() };
        files.map(|file| file.unwrap().file_name().into_string().unwrap()).collect()
    }
}

fn smtp(port: u16) -> String {
    format!("email = \"smtp\"\n[smtp]\nhost = \"127.0.0.1\"\nport = {port}\ntls = \"none\"\n")
}

fn balances(account: &Account) {
    let t = &account.total;
    assert_eq!(t.planned, t.accepted + t.rejected + t.deferred + t.waiting + t.unknown + t.cancelled + t.expired, "{account:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_outbox_holds_exactly_the_planned_messages_and_a_second_run_adds_none() {
    let world = World::new((0..100).map(person).collect(), "").await;
    let account = world.deliver().await.unwrap();
    balances(&account);
    assert_eq!((account.total.accepted, account.this_run.accepted, account.exit()), (100, 100, Exit::Done));
    let expected: BTreeSet<String> = (0..100).map(|number| format!("{number:04}@fernwood.example.eml")).collect();
    assert_eq!(world.outbox(), expected);
    assert_eq!(world.status().await, "delivered");
    let again = world.deliver().await.unwrap();
    assert_eq!((again.total, again.this_run, again.exit()), (account.total, ThisRun::default(), Exit::Done));
    assert_eq!(world.outbox(), expected);
    let heard = world.ledger().heard_since(at("2026-11-22T08:00:00Z"), None, at("2026-11-23T01:00:00Z")).await.unwrap();
    assert_eq!(heard.len(), 100);
    let text = std::fs::read_to_string(world.root.path().join("data/outbox/0007@fernwood.example.eml")).unwrap();
    let token = text.split("/u/").nth(1).unwrap().split('>').next().unwrap();
    assert_eq!(Token::verify(&world.context.keys, token).unwrap().customer_id, CustomerId::new("p7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_for_nobody_is_delivered_at_once() {
    let world = World::new(vec![], "").await;
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.planned, account.exit()), (0, Exit::Done));
    assert_eq!(world.status().await, "delivered", "it stands in no later plan's way");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_changed_their_mind_or_came_back_drops_out_with_a_reason() {
    let mut people: Vec<_> = (0..14).map(person).collect();
    people[9].row.insert("email".into(), Field::Text("P8@example.com ".into()));
    people[10].row.insert("email".into(), Field::Null);
    people[12].row.insert("email".into(), Field::Text("not an address".into()));
    let world = World::new(people, "only_to = [\"*@EXAMPLE.com\"]").await;
    let ledger = world.ledger();
    let since = at("2026-11-22T05:00:00Z").timestamp_micros();
    for (column, value, id) in [
        ("marketing_email", "'denied'".to_owned(), "p0"),
        ("last_order_at", since.to_string(), "p1"),
        ("open_complaint", "1".to_owned(), "p2"),
        ("last_complaint_at", since.to_string(), "p3"),
        ("segments", "'[\"loyal_thanks\"]'".to_owned(), "p4"),
        ("deleted", "1".to_owned(), "p5"),
    ] {
        fixture::run(ledger, &format!("update contact_state set {column} = {value} where customer_id = '{id}'")).await;
    }
    fixture::run(ledger, "delete from contact_state where customer_id = 'p11'").await;
    let out =
        OptOut { customer_id: CustomerId::new("p6"), campaign: "win-back".into(), message_id: "old@x".into(), channel: "email".into() };
    ledger.opt_out(&out, world.clock.now()).await.unwrap();
    let bounce = NewSuppression {
        customer_id: None,
        address_hash: Some(address_hash(&world.context.keys, "p7@example.com")),
        address: None,
        channel: "email".into(),
        scope: Scope::All,
        reason: "hard_bounce".into(),
        by: None,
    };
    ledger.suppress(&bounce, world.clock.now()).await.unwrap();
    let account = world.deliver().await.unwrap();
    balances(&account);
    let reasons = world.reasons().await;
    let expected = [
        ("opted_out_since", 2),
        ("bought_since", 1),
        ("complained_since", 2),
        ("no_longer_in_segment", 2),
        ("deleted", 1),
        ("suppressed", 1),
        ("duplicate_address", 1),
        ("no_address", 2),
    ];
    assert_eq!(reasons, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
    assert_eq!((account.total.accepted, account.total.cancelled, account.exit()), (2, 12, Exit::Done));
    assert_eq!(world.outbox().len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_to_limits_whom_any_environment_can_reach() {
    let mut people: Vec<_> = (0..3).map(person).collect();
    people[1].row.insert("email".into(), Field::Text("Mara@OurShop.com".into()));
    let world = World::new(people, "only_to = [\"*@ourshop.com\"]").await;
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.cancelled), (1, 2));
    assert_eq!(world.reasons().await, BTreeMap::from([("only_to".to_owned(), 2)]));
    assert_eq!(world.outbox(), BTreeSet::from(["0001@fernwood.example.eml".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_note_to_staff_stays_at_home_while_only_to_is_set() {
    let settings = "only_to = [\"*@ourshop.com\"]\n[webhook]\nurl = \"https://crm.example/hook\"";
    let mut world = World::of_kind(vec![person(0)], settings, Kind::Internal).await;
    world.context.keys = Keys::new(Secret::new("a master key of our own"));
    let delivery = Arc::get_mut(&mut world.delivery).unwrap();
    delivery.channel = Channel::Webhook;
    delivery.letters = Box::new(|_: &PlannedRecipient, _: &Stamp| Ok(Message::Webhook { body: "{}".into() }));
    assert_eq!(world.deliver().await.unwrap().total.accepted, 1);
    assert_eq!(world.outbox(), BTreeSet::from(["0000@fernwood.example.json".to_owned()]));
    let way = |url: &str, kind| {
        let mut context = world.context.clone();
        context.settings.webhook.as_mut().unwrap().url = Some(url.to_owned());
        let channel = Channel::Webhook;
        let batch = deliver::Batch { kind, channel, receiver: None, from: "hello@fernwood.example", campaign: "c", plan: PLAN };
        deliver::way(&context, &batch).unwrap().name()
    };
    assert_eq!(way("http://127.0.0.1:1/hook", Kind::Internal), "http");
    assert_eq!(way("https://crm.example/hook", Kind::Service), "http", "there the addresses decide");
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_opted_out_of_mail_is_not_written_to_by_a_call_either() {
    let mut people: Vec<_> = (0..4).map(person).collect();
    people[3].row.insert("email".into(), Field::Text("p2@example.com".into()));
    let mut world = World::of_kind(people, "", Kind::Service).await;
    let delivery = Arc::get_mut(&mut world.delivery).unwrap();
    delivery.channel = Channel::Webhook;
    delivery.letters = Box::new(|_: &PlannedRecipient, _: &Stamp| Ok(Message::Webhook { body: "{}".into() }));
    let out =
        OptOut { customer_id: CustomerId::new("p0"), campaign: "win-back".into(), message_id: "old@x".into(), channel: "email".into() };
    world.ledger().opt_out(&out, world.clock.now()).await.unwrap();
    let bounce = NewSuppression {
        customer_id: None,
        address_hash: Some(address_hash(&world.context.keys, "p1@example.com")),
        address: None,
        channel: "email".into(),
        scope: Scope::All,
        reason: "hard_bounce".into(),
        by: None,
    };
    world.ledger().suppress(&bounce, world.clock.now()).await.unwrap();
    assert_eq!(world.deliver().await.unwrap().total.accepted, 1);
    let expected = [("opted_out_since", 1), ("suppressed", 1), ("duplicate_address", 1)];
    assert_eq!(world.reasons().await, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_old_name_said_and_heard_counts_for_the_person_it_was_merged_into() {
    let world = World::new((0..4).map(person).collect(), "[policy]\ncap = { messages = 1, within = \"30d\" }").await;
    let ledger = world.ledger();
    for (old, now) in [("shop:5", "p0"), ("shop:6", "p1"), ("shop:7", "p2")] {
        fixture::run(ledger, &format!("insert into aliases values ('{old}', '{now}')")).await;
    }
    let out =
        OptOut { customer_id: CustomerId::new("shop:5"), campaign: "win-back".into(), message_id: "old@x".into(), channel: "email".into() };
    ledger.opt_out(&out, world.clock.now()).await.unwrap();
    for (id, campaign, customer, occasion) in [("a", "win-back", "shop:6", "o1"), ("b", "check-in", "shop:7", "o2")] {
        let at = world.clock.now().timestamp_micros();
        let values =
            format!("'{id}', 'older', '{campaign}', 'marketing', 'email', '{customer}', '{occasion}', 1, null, null, 'accepted', {at}");
        fixture::run(ledger, &format!("insert into messages values ({values})")).await;
    }
    assert_eq!(world.deliver().await.unwrap().total.accepted, 1);
    let expected = [("opted_out_since", 1), ("already_told", 1), ("capped", 1)];
    assert_eq!(world.reasons().await, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_people_asked_for_on_their_page_holds_in_the_next_delivery() {
    let world = World::new((0..4).map(person).collect(), "").await;
    let (ledger, now) = (world.ledger(), world.clock.now());
    fixture::run(ledger, "insert into aliases values ('shop:5', 'p0')").await;
    let letter = |customer: &str, campaign: &str| OptOut {
        customer_id: CustomerId::new(customer),
        campaign: campaign.into(),
        message_id: "old@x".into(),
        channel: "email".into(),
    };
    ledger.wish(&letter("shop:5", "win-back"), Wish::Without, now).await.unwrap();
    ledger.wish(&letter("p1", "check-in"), Wish::Without, now).await.unwrap();
    for person in ["p2", "p3"] {
        ledger.wish(&letter(person, "check-in"), Wish::Fewer, now).await.unwrap();
    }
    ledger.note_occasion_for_test("check-in", &CustomerId::new("p2"), "o", 1, now - TimeDelta::days(80)).await.unwrap();
    ledger.note_occasion_for_test("check-in", &CustomerId::new("p3"), "o", 1, now - TimeDelta::days(100)).await.unwrap();
    assert_eq!(world.deliver().await.unwrap().total.accepted, 2, "p1 left another campaign, p3 has had peace");
    let expected = [("opted_out_since", 1), ("cool_off", 1)];
    assert_eq!(world.reasons().await, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_letter_carries_the_link_that_makes_it_stop() {
    let world = World::of_kind(vec![person(0)], "", Kind::Service).await;
    world.deliver().await.unwrap();
    let text = std::fs::read_to_string(world.root.path().join("data/outbox/0000@fernwood.example.eml")).unwrap();
    let token = text.split("/u/").nth(1).unwrap().split('>').next().unwrap();
    assert_eq!(Token::verify(&world.context.keys, token).unwrap().customer_id, CustomerId::new("p0"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_is_delivered_to_whoever_nothing_else_keeps_out() {
    let world = World::new((0..4).map(person).collect(), "").await;
    fixture::run(world.ledger(), "update plans set replay = 1").await;
    fixture::run(world.ledger(), "update contact_state set segments = '[]'").await;
    fixture::run(world.ledger(), "update contact_state set marketing_email = 'denied' where customer_id = 'p0'").await;
    fixture::run(world.ledger(), "delete from contact_state where customer_id = 'p1'").await;
    let options = Options { allow_replay: true, ..Options::default() };
    assert_eq!(deliver(&world.context, &world.delivery, options).await.unwrap().total.accepted, 2);
    let expected = [("opted_out_since", 1), ("no_longer_in_segment", 1)];
    assert_eq!(world.reasons().await, expected.map(|(reason, count)| (reason.to_owned(), count)).into());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_outcome_of_another_plan_ends_the_run_with_3_once() {
    let world = World::new(vec![person(0)], "").await;
    let now = world.clock.now();
    fixture::approved(world.ledger(), "other", "marketing", 1, now, now + TimeDelta::hours(24)).await;
    let at = now.timestamp_micros();
    let lost = format!("'other', 'p9', 'm9@x', 'committing', null, 1, null, 'smtp', {at}, null, null");
    fixture::run(world.ledger(), &format!("insert into recipients values ({lost})")).await;
    let account = world.deliver().await.unwrap();
    assert_eq!((account.this_run.unknown, account.unknown_elsewhere, account.exit()), (0, 1, Exit::Partly));
    assert_eq!(world.ledger().unknowns().await.unwrap().len(), 1);
    assert_eq!(world.deliver().await.unwrap().exit(), Exit::Done);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_of_any_script_is_written_to_as_servers_know_it() {
    let sink = Sink::start(Script::default()).await;
    let mut people: Vec<_> = (0..2).map(person).collect();
    people[0].row.insert("email".into(), Field::Text("jo@Bücher.example".into()));
    people[1].row.insert("email".into(), Field::Text("jo@xn--bcher-kva.example".into()));
    let world = World::new(people, &format!("only_to = [\"*@bücher.example\"]\n{}", smtp(sink.port))).await;
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.cancelled), (1, 1), "the two are one mailbox");
    let commands = sink.seen.commands.lock().unwrap();
    assert!(commands.iter().any(|command| command.starts_with("RCPT TO:<jo@xn--bcher-kva.example>")), "{commands:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn caps_and_peace_hold_over_all_campaigns() {
    let world = World::new((0..3).map(person).collect(), "[policy]\ncap = { messages = 2, within = \"30d\" }").await;
    let now = world.clock.now();
    for (id, customer, days, kind) in [
        ("a", "p0", 1, "marketing"),
        ("b", "p0", 29, "service"),
        ("c", "p1", 1, "marketing"),
        ("d", "p1", 31, "marketing"),
        ("e", "p2", 1, "internal"),
        ("f", "p2", 1, "internal"),
    ] {
        let at = (now - TimeDelta::days(days)).timestamp_micros();
        fixture::run(
            world.ledger(),
            &format!(
                "insert into messages values ('{id}', 'q', 'other', '{kind}', 'email', '{customer}', 'o', 1, null, null, 'accepted', {at})"
            ),
        )
        .await;
    }
    world.deliver().await.unwrap();
    assert_eq!(world.reasons().await, BTreeMap::from([("capped".to_owned(), 1)]));

    let mut world = World::new((0..2).map(person).collect(), "").await;
    Arc::get_mut(&mut world.delivery).unwrap().cool_off = crate::config::Period::parse("7d");
    let at = (now - TimeDelta::days(6)).timestamp_micros();
    fixture::run(
        world.ledger(),
        &format!("insert into messages values ('a', 'q', 'other', 'service', 'email', 'p1', 'o', 1, null, null, 'unknown', {at})"),
    )
    .await;
    world.deliver().await.unwrap();
    assert_eq!(world.reasons().await, BTreeMap::from([("cool_off".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_occasion_is_told_once_however_many_plans_promise_it() {
    let world = World::new((0..6).map(person).collect(), "").await;
    for (number, state) in ["accepted", "unknown", "committing", "rejected", "cancelled", "expired"].into_iter().enumerate() {
        fixture::run(
            world.ledger(),
            &format!("insert into messages values ('{number:04}@fernwood.example', 'older', 'win-back', 'marketing', 'email', 'p{number}', 'o', 1, null, null, '{state}', 0)"),
        )
        .await;
    }
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.cancelled), (3, 3));
    assert_eq!(world.reasons().await, BTreeMap::from([("already_told".to_owned(), 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_begins_that_may_not() {
    async fn refusal(world: &World) -> (String, Exit) {
        let error = world.deliver().await.unwrap_err();
        assert!(world.outbox().is_empty());
        (error.diagnosis().code, error.exit())
    }
    let wrong = |code: &str| (code.to_owned(), Exit::Wrong);
    let world = World::new(vec![person(0)], "").await;
    for status in ["draft", "held", "rejected", "superseded", "stopped"] {
        fixture::run(world.ledger(), &format!("update plans set status = '{status}'")).await;
        assert_eq!(refusal(&world).await, wrong("not_approved"), "{status}");
    }
    fixture::run(world.ledger(), "update plans set status = 'approved', replay = 1").await;
    assert_eq!(refusal(&world).await, wrong("replay"));
    fixture::run(world.ledger(), "update plans set replay = 0, planned = 2").await;
    assert_eq!(refusal(&world).await, wrong("plan_changed"));
    fixture::run(world.ledger(), "update plans set planned = 1").await;
    fixture::run(world.ledger(), "update contact_state_published set published_at = published_at - 61200000000").await;
    assert_eq!(refusal(&world).await, wrong("stale"));
    fixture::run(world.ledger(), "delete from contact_state_published").await;
    assert_eq!(refusal(&world).await, wrong("never_built"));
    if !world.ledger().is_shared() {
        let held = recover::Lock::take(world.root.path()).unwrap();
        assert_eq!(refusal(&world).await, ("busy".to_owned(), Exit::Busy));
        drop(held);
    }
    world.clock.set(at("2026-11-23T01:00:00Z"));
    assert_eq!(refusal(&world).await, wrong("expired"));
    assert_eq!(world.status().await, "expired");
    assert_eq!(world.ledger().tally(&world.delivery.plan).await.unwrap().expired, 1);
    let elsewhere = World::new(vec![person(0)], "email = \"smtp\"\n[smtp]\nhost = \"relay.example\"").await;
    assert_eq!(refusal(&elsewhere).await, wrong("practice"));
    let mut nowhere = World::new(vec![person(0)], "").await;
    nowhere.context.settings.public_url = None;
    assert_eq!(refusal(&nowhere).await, wrong("public_url"));
    fixture::run(nowhere.ledger(), "delete from plans").await;
    assert_eq!(refusal(&nowhere).await, wrong("no_plan"));
}

#[tokio::test(flavor = "multi_thread")]
async fn first_n_leaves_the_others_waiting() {
    let world = World::new((0..50).map(person).collect(), "").await;
    fixture::run(world.ledger(), "update contact_state set marketing_email = 'denied' where customer_id = 'p0'").await;
    let options = Options { first: Some(5), ..Options::default() };
    let account = deliver(&world.context, &world.delivery, options).await.unwrap();
    balances(&account);
    assert_eq!((account.total.accepted, account.exit(), world.outbox().len()), (5, Exit::Done, 5));
    assert_eq!(world.status().await, "delivering");
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.cancelled, account.this_run.accepted), (49, 1, 44));
}

#[tokio::test(flavor = "multi_thread")]
async fn quiet_hours_and_later_dates_keep_people_waiting_until_the_plan_expires() {
    let mut people: Vec<_> = (0..4).map(person).collect();
    people[2].send_after = Some(at("2026-11-22T12:00:00Z"));
    let world = World::new(people, "[policy]\nquiet_hours = [\"21:00\", \"08:00\"]").await;
    fixture::run(world.ledger(), "update contact_state set timezone = 'America/New_York' where customer_id = 'p1'").await;
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.waiting, account.exit()), (2, 2, Exit::Done));
    world.clock.set(at("2026-11-22T12:59:59Z"));
    assert_eq!(world.deliver().await.unwrap().this_run.accepted, 1, "the later date has come, New York still sleeps");
    world.clock.set(at("2026-11-23T01:00:00Z"));
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.this_run.expired, account.exit()), (3, 1, Exit::Partly));
    assert_eq!(world.status().await, "delivered");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_letter_that_cannot_be_written_stops_nobody_else() {
    let mut world = World::new((0..20).map(person).collect(), "").await;
    Arc::get_mut(&mut world.delivery).unwrap().letters = Box::new(|person: &PlannedRecipient, stamp: &Stamp| {
        if person.customer_id.as_str() == "p3" {
            return Err(MessageError(crate::diagnosis::Diagnosis::new("template_field", "no")));
        }
        letter(person, stamp)
    });
    let account = world.deliver().await.unwrap();
    balances(&account);
    assert_eq!((account.total.accepted, account.total.rejected, account.exit()), (19, 1, Exit::Partly));
    assert_eq!(world.reasons().await, BTreeMap::from([("template".to_owned(), 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_sorts_people_into_the_account_and_deferred_ones_are_tried_again() {
    let sink = Sink::start(Script {
        rcpt: |to| match to {
            "p3@example.com" => "550 5.1.1 no such user",
            "p4@example.com" => "550 5.7.1 not liked",
            "p5@example.com" => "451 4.7.1 later",
            _ => "250 ok",
        },
        ..Script::default()
    })
    .await;
    let world = World::new((0..60).map(person).collect(), &smtp(sink.port)).await;
    let account = world.deliver().await.unwrap();
    balances(&account);
    let t = account.total;
    assert_eq!((t.accepted, t.rejected, t.deferred, t.unknown, account.exit()), (57, 2, 1, 0, Exit::Partly));
    assert_eq!(world.reasons().await, BTreeMap::from([("hard_bounce".to_owned(), 1), ("refused".to_owned(), 1)]));
    assert_eq!(fixture::number(world.ledger(), "select count(*) from suppressions where reason = 'hard_bounce'").await, 1);
    assert_eq!(fixture::number(world.ledger(), "select count(*) from events where kind = 'bounced' and customer_id = 'p3'").await, 1);
    assert_eq!(
        fixture::number(world.ledger(), "select count(*) from recipients where reply like '%@%'").await,
        0,
        "no addresses in replies"
    );
    // Put off for five, thirty and a hundred and twenty minutes.
    let mut now = world.clock.now();
    for minutes in [5, 30, 120, 120] {
        assert_eq!(
            fixture::number(world.ledger(), "select next_try_at from recipients where state = 'deferred'").await,
            (now + TimeDelta::minutes(minutes)).timestamp_micros()
        );
        assert_eq!(world.deliver().await.unwrap().this_run, ThisRun::default(), "not before its time");
        now += TimeDelta::minutes(minutes);
        world.clock.set(now);
        assert_eq!(world.deliver().await.unwrap().this_run, ThisRun { deferred: 1, ..ThisRun::default() });
    }
    assert_eq!(sink.message_ids().len(), 57);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_never_comes_is_unknown_listed_and_never_sent_again() {
    let sink =
        Sink::start(Script { dot: |to| if to == "p7@example.com" { Dot::Cut } else { Dot::Say("250 ok") }, ..Script::default() }).await;
    let world = World::new((0..40).map(person).collect(), &smtp(sink.port)).await;
    let account = world.deliver().await.unwrap();
    balances(&account);
    assert_eq!((account.total.accepted, account.total.unknown, account.exit()), (39, 1, Exit::Partly));
    let unknown = world.ledger().unknowns().await.unwrap();
    assert_eq!(unknown.iter().map(|one| one.customer_id.as_str()).collect::<Vec<_>>(), ["p7"]);
    assert_eq!(world.deliver().await.unwrap().this_run, ThisRun::default());
    assert_eq!(sink.message_ids().len(), 40);
    let id = unknown[0].message_id.clone();
    let now = world.clock.now();
    assert_eq!(world.ledger().resolve_unknown(&id, Verdict::NotSent, "Mara", now).await.unwrap(), Some(State::Cancelled));
    let told = world.ledger().told_before("win-back", at("2026-11-23T01:00:00Z")).await.unwrap();
    assert!(told.messages.len() == 39 && !told.messages.contains(&id), "a later plan may tell it");
    assert_eq!(world.ledger().resolve_unknown(&id, Verdict::Accepted, "Mara", now).await.unwrap(), None);
    assert_eq!(fixture::number(world.ledger(), "select count(*) from events where kind = 'resolved'").await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_is_away_fails_the_run_and_skips_nobody() {
    let world = World::new((0..40).map(person).collect(), &smtp(1)).await;
    let error = world.deliver().await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("transport", Exit::Failed));
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert_eq!((tally.waiting, tally.planned), (40, 40));
    assert_eq!(fixture::number(world.ledger(), "select count(*) from recipients where state <> 'waiting'").await, 0);

    let sink = Sink::start(Script { dot: |_| Dot::Cut, ..Script::default() }).await;
    let world = World::new((0..200).map(person).collect(), &smtp(sink.port)).await;
    assert_eq!(world.deliver().await.unwrap_err().exit(), Exit::Failed);
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert!(tally.unknown > 0 && tally.unknown <= 32, "a relay that never answers does not make everybody unknown: {tally:?}");
    assert_eq!(tally.unknown + tally.waiting, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_opt_out_and_a_hold_are_obeyed_by_a_delivery_already_running() {
    let world = Arc::new(World::new((0..400).map(person).collect(), "").await);
    let running = Arc::clone(&world);
    let mut world_delivery = tokio::spawn(async move { running.deliver().await });
    // As soon as somebody has been written to, the last person opts out, and a person holds the plan.
    while world.outbox().is_empty() {
        tokio::task::yield_now().await;
    }
    let last =
        OptOut { customer_id: CustomerId::new("p399"), campaign: "win-back".into(), message_id: "m@x".into(), channel: "email".into() };
    world.ledger().opt_out(&last, world.clock.now()).await.unwrap();
    fixture::run(world.ledger(), "update plans set status = 'held', held_from = 'delivering'").await;
    let account = (&mut world_delivery).await.unwrap().unwrap();
    balances(&account);
    assert_eq!(account.total.accepted, world.outbox().len() as u64);
    assert_eq!(fixture::number(world.ledger(), "select count(*) from recipients where state in ('reserved', 'committing')").await, 0);
    if account.total.waiting > 0 {
        fixture::run(world.ledger(), "update plans set status = 'delivering', held_from = null").await;
        let account = world.deliver().await.unwrap();
        assert_eq!((account.total.accepted, account.total.cancelled), (399, 1));
        assert_eq!(world.reasons().await, BTreeMap::from([("opted_out_since".to_owned(), 1)]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cancelled_plan_ends_with_everybody_accounted_for() {
    let world = World::new((0..50).map(person).collect(), "").await;
    deliver(&world.context, &world.delivery, Options { first: Some(10), ..Options::default() }).await.unwrap();
    let cancelled = world.ledger().stop_plan(&world.delivery.plan, Some("Mara"), world.clock.now()).await.unwrap();
    assert_eq!(cancelled, 40);
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert_eq!((tally.accepted, tally.cancelled, tally.planned), (10, 40, 50));
    assert_eq!(world.deliver().await.unwrap_err().exit(), Exit::Wrong);
    assert_eq!(world.reasons().await, BTreeMap::from([("plan_cancelled".to_owned(), 40)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn being_asked_to_stop_makes_no_unknown() {
    let sink = Sink::start(Script::default()).await;
    let world = Arc::new(World::new((0..400).map(person).collect(), &smtp(sink.port)).await);
    let running = Arc::clone(&world);
    let delivery = tokio::spawn(async move { running.deliver().await });
    while sink.seen.arrived.load(Ordering::SeqCst) < 20 {
        tokio::task::yield_now().await;
    }
    world.context.stop.cancel();
    let account = delivery.await.unwrap().unwrap();
    balances(&account);
    assert_eq!((account.total.unknown, account.exit()), (0, Exit::Done));
    assert_eq!(account.total.accepted, sink.message_ids().len() as u64);
}

/// Ends a delivery again and again without a warning, as a crash would, and runs it again until it is through.
async fn killed_again_and_again(world: World, seen: impl Fn() -> usize, kills: usize) -> (World, Account) {
    let World { root, context, clock, delivery } = world;
    let mut random = 17_u64;
    for _ in 0..kills {
        let (context, delivery) = (Context { ledger: fixture::open(root.path()).await, ..context.clone() }, Arc::clone(&delivery));
        let goal = seen() + usize::try_from(random % 23).unwrap();
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let running = deliver(&context, &delivery, Options::default());
        tokio::select! {
            _ = running => {}
            () = async { while seen() < goal { tokio::task::yield_now().await } } => {}
        }
    }
    let world = World { context: Context { ledger: fixture::open(root.path()).await, ..context }, root, clock, delivery };
    // What a dropped delivery's threads still hold is let go before the last run.
    let account = loop {
        match world.deliver().await {
            Err(DeliveryError::Busy) => tokio::task::yield_now().await,
            ended => break ended.unwrap(),
        }
    };
    (world, account)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_killed_at_any_moment_writes_to_nobody_twice_and_skips_nobody() {
    for pipelining in [true, false] {
        let sink = Sink::start(Script { pipelining, ..Script::default() }).await;
        let seen = Arc::clone(&sink.seen);
        let world = World::new((0..400).map(person).collect(), &smtp(sink.port)).await;
        let (world, account) = killed_again_and_again(world, || seen.arrived.load(Ordering::SeqCst), 25).await;
        balances(&account);
        assert_eq!(account.total.accepted + account.total.unknown, 400, "{account:?}");
        let ids = sink.message_ids();
        let distinct: BTreeSet<&String> = ids.iter().collect();
        assert_eq!(distinct.len(), ids.len(), "nobody twice");
        let unknown: BTreeSet<String> =
            world.ledger().unknowns().await.unwrap().into_iter().map(|one| one.message_id.as_str().to_owned()).collect();
        assert_eq!(unknown.len() as u64, account.total.unknown);
        for number in 0..400 {
            let id = format!("{number:04}@fernwood.example");
            assert!(distinct.contains(&id) || unknown.contains(&id), "{id} is missing and not listed");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outbox_killed_at_any_moment_knows_no_unknown() {
    let world = World::new((0..300).map(person).collect(), "").await;
    let folder = world.root.path().join("data/outbox");
    let count = move || std::fs::read_dir(&folder).map_or(0, |files| files.count());
    let (world, account) = killed_again_and_again(world, count, 20).await;
    balances(&account);
    assert_eq!((account.total.accepted, account.total.unknown), (300, 0));
    assert_eq!(world.outbox().iter().filter(|file| file.ends_with(".eml")).count(), 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn postfix_own_sink_receives_every_message_once() {
    let Ok(port) = std::net::TcpListener::bind("127.0.0.1:0").map(|listener| listener.local_addr().unwrap().port()) else { return };
    let program = ["/usr/sbin/smtp-sink", "/usr/bin/smtp-sink"].into_iter().find(|path| Path::new(path).exists());
    let Some(program) = program else {
        #[allow(clippy::print_stderr)] // A test that did not run says so.
        {
            eprintln!("skipped: smtp-sink (Debian package postfix) is needed");
        }
        return;
    };
    let dump = tempfile::tempdir().unwrap();
    // It refuses to run as root, so that its folder has to be open to somebody else.
    use std::os::unix::fs::{MetadataExt, PermissionsExt};
    std::fs::set_permissions(dump.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let root = std::fs::metadata(dump.path()).unwrap().uid() == 0;
    let mut sink = Command::new(program)
        .current_dir(dump.path())
        .args(if root { &["-u", "nobody"][..] } else { &[] })
        .args(["-d", "mail.", &format!("127.0.0.1:{port}"), "100"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(sink.try_wait().unwrap().is_none(), "smtp-sink did not start");
        tokio::task::yield_now().await;
    }
    let world = World::new((0..300).map(person).collect(), &smtp(port)).await;
    let account = world.deliver().await;
    let _ = sink.kill();
    let _ = sink.wait();
    let account = account.unwrap();
    assert_eq!((account.total.accepted, account.exit()), (300, Exit::Done));
    let mut ids: Vec<String> = std::fs::read_dir(dump.path())
        .unwrap()
        .filter_map(|file| std::fs::read_to_string(file.unwrap().path()).ok())
        .filter_map(|text| text.lines().find_map(|line| line.strip_prefix("Message-ID: <")).map(|id| id.trim_end_matches('>').to_owned()))
        .collect();
    ids.sort();
    assert_eq!(ids, (0..300).map(|number| format!("{number:04}@fernwood.example")).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_are_signed_carry_their_key_and_follow_nobody() {
    use axum::{
        Router,
        extract::State as Shared,
        http::{HeaderMap, StatusCode},
        response::IntoResponse,
        routing::post,
    };
    type Calls = Arc<std::sync::Mutex<Vec<(HeaderMap, String)>>>;
    let calls = Calls::default();
    let answer = |Shared(calls): Shared<Calls>, headers: HeaderMap, body: String| async move {
        calls.lock().unwrap().push((headers, body.clone()));
        match body.as_str() {
            "1" => StatusCode::BAD_REQUEST.into_response(),
            "2" => (StatusCode::TOO_MANY_REQUESTS, [("retry-after", "600")]).into_response(),
            "3" => (StatusCode::TEMPORARY_REDIRECT, [("location", "/elsewhere")]).into_response(),
            "4" => std::future::pending().await,
            _ => StatusCode::OK.into_response(),
        }
    };
    let app = Router::new().route("/hook", post(answer)).with_state(Arc::clone(&calls));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move { axum::serve(listener, app).await });
    let settings = format!("[webhook]\nurl = \"http://127.0.0.1:{port}/hook\"\nsecret = {{ file = \"secret\" }}\ntimeout = \"1s\"");
    let mut world = World::of_kind((0..6).map(person).collect(), &settings, Kind::Internal).await;
    std::fs::write(world.root.path().join("secret"), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n").unwrap();
    let delivery = Arc::get_mut(&mut world.delivery).unwrap();
    delivery.channel = Channel::Webhook;
    delivery.letters =
        Box::new(|person: &PlannedRecipient, _: &Stamp| Ok(Message::Webhook { body: person.customer_id.as_str()[1..].to_owned() }));
    let account = world.deliver().await.unwrap();
    balances(&account);
    let t = account.total;
    assert_eq!((t.accepted, t.rejected, t.deferred, t.unknown, account.exit()), (2, 2, 1, 1, Exit::Partly));
    let patience = (world.clock.now() + TimeDelta::seconds(600)).timestamp_micros();
    assert_eq!(fixture::number(world.ledger(), "select next_try_at from recipients where state = 'deferred'").await, patience);
    let calls = calls.lock().unwrap();
    assert_eq!(calls.len(), 6, "each call is made once, and a redirect is not followed");
    let (headers, _) = calls.iter().find(|(_, body)| body == "0").unwrap();
    let header = |name: &str| headers.get(name).unwrap().to_str().unwrap();
    assert_eq!((header("webhook-id"), header("idempotency-key")), ("0000", "0000@fernwood.example"));
    assert_eq!(header("webhook-timestamp"), world.clock.now().timestamp().to_string());
    assert!(header("webhook-signature").starts_with("v1,"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_without_a_receiver_goes_to_the_outbox_as_json() {
    let mut world = World::of_kind(vec![person(0)], "", Kind::Internal).await;
    let delivery = Arc::get_mut(&mut world.delivery).unwrap();
    delivery.channel = Channel::Webhook;
    delivery.letters = Box::new(|_: &PlannedRecipient, _: &Stamp| Ok(Message::Webhook { body: "{}".into() }));
    assert_eq!(world.deliver().await.unwrap().total.accepted, 1);
    assert_eq!(world.outbox(), BTreeSet::from(["0000@fernwood.example.json".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proof_reaches_a_colleague_and_no_ledger() {
    let world = World::new(vec![person(0)], "only_to = [\"*@ourshop.com\"]").await;
    let message = letter(&person(0), &Stamp { unsubscribe_url: None, date: world.clock.now() }).unwrap();
    let id = proof_id(&world.context.keys, "mara@ourshop.com", world.clock.now(), "fernwood.example");
    assert!(id.as_str().starts_with("test-"));
    let file = send_proof(&world.context, "hello@fernwood.example", "mara@ourshop.com", &id, &message).await.unwrap();
    assert!(std::fs::read_to_string(file).unwrap().starts_with("X-Perennial-Test: yes\r\n"));
    let refused = send_proof(&world.context, "hello@fernwood.example", "ann@example.com", &id, &message).await.unwrap_err();
    assert_eq!(refused.exit(), Exit::Wrong);
    assert_eq!(fixture::number(world.ledger(), "select count(*) from messages").await, 0);

    let sink = Sink::start(Script::default()).await;
    let world = World::new(vec![person(0)], &smtp(sink.port)).await;
    send_proof(&world.context, "hello@fernwood.example", "mara@ourshop.com", &id, &message).await.unwrap();
    assert_eq!(sink.message_ids().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_campaign_that_reaches_too_many_dead_mailboxes_stops_by_itself_and_goes_on_by_hand() {
    // Every fifth mailbox does not exist.
    let rcpt = |to: &str| match to.split('@').next() {
        Some(name) if name.ends_with(['0', '5']) => "550 5.1.1 no such user",
        _ => "250 ok",
    };
    let sink = Sink::start(Script { rcpt, ..Script::default() }).await;
    let world = World::new((0..600).map(person).collect(), &smtp(sink.port)).await;
    let error = world.deliver().await.unwrap_err();
    assert!(matches!(error, DeliveryError::Tripped { .. }), "{error}");
    assert_eq!(error.exit(), Exit::Failed);
    assert!(error.to_string().contains("mailboxes that do not exist; 4 % of 500 are allowed"), "{error}");
    assert_eq!(world.status().await, "held");
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert!(tally.waiting > 200 && tally.rejected >= 21 && tally.rejected < 21 + 64, "{tally:?}");
    assert_eq!(tally.unknown, 0);
    assert!(matches!(world.deliver().await.unwrap_err(), DeliveryError::NotApproved { .. }));

    // Somebody looked, and lets it go on: only what comes back from now on counts.
    let later = |minutes| world.clock.set(at("2026-11-22T09:00:00Z") + TimeDelta::minutes(minutes));
    later(1);
    world.ledger().resume(&world.delivery.plan, None, world.clock.now()).await.unwrap();
    later(2);
    let before = tally.rejected;
    assert!(matches!(world.deliver().await.unwrap_err(), DeliveryError::Tripped { .. }));
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert!(tally.rejected >= before + 21, "{tally:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_is_gone_is_called_no_more_and_nobody_is_lost() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let calls = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&calls);
    let receiver = tokio::spawn(async move {
        while let Ok((mut tcp, _)) = listener.accept().await {
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let mut asked = vec![0; 4096];
                let _ = tcp.read(&mut asked).await;
                let _ = tcp.write_all(b"HTTP/1.1 410 Gone\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").await;
            });
        }
    });
    let mut world =
        World::of_kind((0..50).map(person).collect(), &format!("[webhook]\nurl = \"http://127.0.0.1:{port}/\""), Kind::Service).await;
    let delivery = Arc::get_mut(&mut world.delivery).unwrap();
    delivery.channel = Channel::Webhook;
    delivery.letters = Box::new(|_: &PlannedRecipient, _: &Stamp| Ok(Message::Webhook { body: "{}".into() }));
    let error = world.deliver().await.unwrap_err();
    assert!(matches!(error, DeliveryError::Transport(TransportError::Gone { .. })), "{error}");
    assert_eq!(world.status().await, "held");
    // Each of the four workers may have had a call under way.
    let made = calls.load(Ordering::SeqCst);
    assert!((1..=4).contains(&made), "{made} calls");
    let tally = world.ledger().tally(&world.delivery.plan).await.unwrap();
    assert_eq!((tally.waiting, tally.unknown, tally.rejected), (50, 0, 0), "{tally:?}");
    assert!(matches!(world.deliver().await.unwrap_err(), DeliveryError::NotApproved { .. }));
    assert_eq!(calls.load(Ordering::SeqCst), made, "no further call");
    receiver.abort();
}

/// A worker of its own: another process would open the ledger anew.
async fn colleague(world: &World) -> Context {
    Context { ledger: fixture::open(world.root.path()).await, ..world.context.clone() }
}

#[tokio::test(flavor = "multi_thread")]
async fn several_workers_deliver_one_plan_and_nobody_is_written_to_twice() {
    let sink = Sink::start(Script::default()).await;
    let world = World::new((0..1_500).map(person).collect(), &smtp(sink.port)).await;
    if !world.ledger().is_shared() {
        return;
    }
    let mut colleagues = Vec::new();
    for _ in 0..4 {
        colleagues.push(colleague(&world).await);
    }
    let all = futures::future::join_all(colleagues.iter().map(|context| deliver(context, &world.delivery, Options::default()))).await;
    let accounts: Vec<Account> = all.into_iter().map(Result::unwrap).collect();
    let each: Vec<u64> = accounts.iter().map(|account| account.this_run.accepted).collect();
    assert_eq!(each.iter().sum::<u64>(), 1_500, "{each:?}");
    assert!(each.iter().filter(|accepted| **accepted > 0).count() >= 2, "they share the work: {each:?}");
    assert_eq!(world.ledger().tally(&world.delivery.plan).await.unwrap().accepted, 1_500);
    assert_eq!(world.status().await, "delivered");
    let received = sink.message_ids();
    let different: BTreeSet<&String> = received.iter().collect();
    assert_eq!((received.len(), different.len()), (1_500, 1_500));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_worker_that_wakes_up_late_sends_nothing_that_others_have_taken() {
    let world = World::new((0..3).map(person).collect(), "").await;
    let (ledger, now) = (world.ledger(), world.clock.now());
    let plan = &world.delivery.plan;
    world.deliver().await.unwrap();
    fixture::run(ledger, "update plans set status = 'delivering'").await;
    // It had the first message on the wire, and the second reserved, when it fell asleep.
    let sleeper = ledger.join(now).await.unwrap();
    fixture::run(ledger, "delete from recipients").await;
    for (number, state) in [(0, "committing"), (1, "reserved"), (2, "waiting")] {
        let PlannedRecipient { customer_id, message_id, .. } = person(number);
        fixture::run(
            ledger,
            &format!(
                "insert into recipients (plan, customer_id, message_id, state, transport, updated_at, worker)
                      select '{PLAN}', '{customer_id}', '{message_id}', '{state}', 'smtp', 0, max(worker) from workers"
            ),
        )
        .await;
    }
    fixture::run(ledger, "delete from messages").await;
    fixture::run(ledger, "update workers set until = 0").await;
    let _ = std::fs::remove_dir_all(world.root.path().join("data/outbox"));
    let account = world.deliver().await.unwrap();
    assert_eq!((account.total.accepted, account.total.unknown), (2, 1), "{account:?}");

    let errand = crate::ledger::Errand {
        plan: plan.clone(),
        campaign: "win-back".into(),
        kind: "marketing".into(),
        channel: "email".into(),
        segment: "lapsed".into(),
        transport: "smtp",
        worker: sleeper.worker(),
        cap_window: TimeDelta::days(30),
    };
    let named = |number| {
        let PlannedRecipient { customer_id, message_id, .. } = person(number);
        crate::ledger::Named { customer_id, message_id }
    };
    let again = |number| {
        let PlannedRecipient { customer_id, message_id, occasion, step, variant, .. } = person(number);
        crate::ledger::Candidate { customer_id, message_id, address_hash: None, occasion, step, variant }
    };
    let turn = crate::ledger::Turn {
        take: vec![crate::ledger::Due { candidate: again(1), written: true, quotas: [None; 2] }],
        ..Default::default()
    };
    let refused = ledger.turn(&errand, &turn, now, &|_, _| crate::ledger::Decision::Send).await.unwrap_err();
    assert_eq!((refused.diagnosis().code.as_str(), refused.exit()), ("fenced", Exit::Failed));
    // What it knows about the first is worth something all the same; what it believes about the second is not.
    let settled = |number, state| crate::ledger::Settled {
        message: named(number),
        state,
        reason: None,
        reply: None,
        next_try_at: None,
        bounced: None,
    };
    ledger.settle_late(&errand, &[settled(0, State::Accepted), settled(1, State::Waiting)], now).await.unwrap();
    assert_eq!(ledger.tally(plan).await.unwrap().accepted, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_warm_up_lets_so_many_leave_a_day_however_often_it_is_begun_again() {
    let sink = Sink::start(Script::default()).await;
    let settings = format!("{}[shaping]\nwarm_up = [10, 25]\n", smtp(sink.port));
    let world = World::new((0..100).map(person).collect(), &settings).await;
    for begun in 0..3 {
        let account = world.deliver().await.unwrap();
        balances(&account);
        assert_eq!((account.total.accepted, account.total.waiting, account.exit()), (10, 90, Exit::Done), "{begun}");
    }
    assert_eq!(world.reasons().await, BTreeMap::from([("pace".to_owned(), 90)]));
    // The day ends where the brand is.
    world.clock.set(at("2026-11-22T22:59:00Z"));
    assert_eq!(world.deliver().await.unwrap().total.accepted, 10);
    world.clock.set(at("2026-11-22T23:00:00Z"));
    assert_eq!(world.deliver().await.unwrap().total.accepted, 35);
    assert_eq!(world.deliver().await.unwrap().total.accepted, 35);
    assert_eq!(sink.message_ids().len(), 35);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_domain_that_says_too_fast_is_left_alone_and_the_others_are_not() {
    fn rcpt(command: &str) -> &'static str {
        if command.contains("slow.example") { "450 4.7.28 too fast, slow down" } else { "250 ok" }
    }
    let at_domain = |number: usize| {
        let mut person = person(number);
        let domain = if number.is_multiple_of(3) { "slow.example" } else { "quick.example" };
        person.row = BTreeMap::from([("email".to_owned(), Field::Text(format!("p{number}@{domain}")))]);
        person
    };
    let sink = Sink::start(Script { rcpt, ..Script::default() }).await;
    let mut world = World::new((0..600).map(at_domain).collect(), &smtp(sink.port)).await;
    let account = world.deliver().await.unwrap();
    balances(&account);
    assert_eq!(account.total.accepted, 400, "all of the others");
    assert!(account.total.deferred <= 64 && account.total.deferred + account.total.waiting == 200, "{account:?}");
    let again = world.deliver().await.unwrap();
    assert_eq!(again.total, account.total, "the pause holds in the next run");
    let willing = Sink::start(Script::default()).await;
    world.context.settings.smtp.as_mut().unwrap().port = Some(willing.port);
    let mut now = world.clock.now();
    for _ in 0..10 {
        now += TimeDelta::minutes(10);
        world.clock.set(now);
        world.deliver().await.unwrap();
    }
    assert_eq!(world.ledger().tally(&world.delivery.plan).await.unwrap().accepted, 600);
}
