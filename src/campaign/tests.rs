//! The room as a whole: a lake, a ledger and the shipped letters in; plans out.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray},
    datatypes::SchemaRef,
};
use chrono::{DateTime, NaiveTime, TimeDelta, Utc};

use super::{gates::tests::as_of, *};
use crate::{
    config::{Cap, Folder, Period, QuietHours},
    diagnosis::Failure,
    lake::{Commit, Lake, LakeSettings},
    ledger::{CustomerId, Ledger, MessageId, NewSuppression, PlanId, PlanStatus, PlanSummary, Scope, fixture},
    message::{Brand, Message},
    secret::{Keys, Secret},
};

const HOSTILE: &str = "</script><img src=x onerror=\"alert('1')\"> & Söhne";

/// A project folder with a lake, a ledger and the shipped campaigns.
struct House {
    root: tempfile::TempDir,
    lake: Lake,
    ledger: Ledger,
    keys: Keys,
    brand: Brand,
    versions: BTreeMap<String, i64>,
    stale: BTreeMap<String, Failure>,
    campaigns: Vec<Campaign>,
}

fn brand() -> Brand {
    serde_json::from_value(serde_json::json!({
        "name": "Fernwood", "url": "https://fernwood.example", "domain": "fernwood.example", "from": "Fernwood <hello@fernwood.example>",
        "postal_address": ["Fernwood", "Lindenallee 12", "10115 Berlin"], "locale": "en-GB", "timezone": "Europe/Berlin",
        "currency": "EUR", "signed_by": "Mara, customer care"
    }))
    .unwrap()
}

/// One person of a made-up shop.
#[derive(Clone)]
struct Guest {
    id: String,
    first: Option<String>,
    last: Option<String>,
    email: Option<String>,
    zone: &'static str,
    order: Option<String>,
    product: Option<String>,
}

/// The first of them have names that try a template; the rest are many.
fn guests(count: usize) -> Vec<Guest> {
    let odd: [(Option<&str>, Option<&str>); 9] = [
        (Some("Seán"), Some("O’Connor")),
        (None, Some("Okafor")),
        (Some("محمد"), Some("عبد الرحمن")),
        (Some("太郎"), Some("山田")),
        (Some("Maximiliane-Annegret Theodora"), Some("von und zu Hohenstein-Waldenburg-Schillingsfürst")),
        (Some(HOSTILE), Some("Bobby")),
        (Some("נועה"), Some("לוי")),
        (Some("Zoë"), Some("Müller")),
        (Some("Anna"), None),
    ];
    (0..count)
        .map(|at| {
            let (first, last) = match odd.get(at) {
                Some((first, last)) => (first.map(str::to_owned), last.map(str::to_owned)),
                None => (Some(["Ann", "Ben", "Carla", "Dev"][at % 4].to_owned()), Some(format!("Guest{at}"))),
            };
            Guest {
                id: format!("crm:{at:05}"),
                first,
                last,
                email: Some(format!("guest{at}@shop.example")),
                zone: ["Europe/Berlin", "America/New_York", "Asia/Tokyo"][at % 3],
                order: Some(format!("o-{at}")),
                product: Some("Ethiopian filter coffee, 1 kg".to_owned()),
            }
        })
        .collect()
}

fn text<'a>(values: impl IntoIterator<Item = Option<&'a str>>) -> ArrayRef {
    Arc::new(values.into_iter().collect::<StringArray>())
}

fn days_ago(count: usize, days: i64) -> ArrayRef {
    let at = (as_of() - TimeDelta::days(days)).timestamp_micros();
    Arc::new(TimestampMicrosecondArray::from(vec![at; count]).with_timezone("UTC"))
}

/// `lapsed` and `at_risk` have the same columns here; each campaign reads those it knows.
fn segment(guests: &[Guest]) -> RecordBatch {
    let count = guests.len();
    let same = |value: &'static str| text(std::iter::repeat_n(Some(value), count));
    let number = |value: i64| Arc::new(Int64Array::from(vec![value; count])) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable(vec![
        ("customer_id", text(guests.iter().map(|guest| Some(guest.id.as_str()))), false),
        ("email", text(guests.iter().map(|guest| guest.email.as_deref())), true),
        ("first_name", text(guests.iter().map(|guest| guest.first.as_deref())), true),
        ("last_name", text(guests.iter().map(|guest| guest.last.as_deref())), true),
        ("honorific", text(guests.iter().map(|_| None)), true),
        ("locale", same("en-GB"), true),
        ("timezone", text(guests.iter().map(|guest| Some(guest.zone))), true),
        ("country", same("DE"), true),
        ("last_order_id", text(guests.iter().map(|guest| guest.order.as_deref())), true),
        ("last_order_at", days_ago(count, 200), true),
        ("quiet_days", number(200), true),
        ("orders", number(4), true),
        ("favourite_category", same("coffee"), true),
        ("last_product", text(guests.iter().map(|guest| guest.product.as_deref())), true),
        ("last_product_url", same("https://fernwood.example/p/filter-coffee"), true),
        ("next_product", same("Hand grinder"), true),
        ("next_product_url", same("https://fernwood.example/p/hand-grinder"), true),
        ("next_product_reason", same("people who bought Ethiopian filter coffee often choose it"), true),
        ("next_product_price", Arc::new(Decimal128Array::from(vec![590_000; count]).with_precision_and_scale(18, 4).unwrap()), true),
        ("tier", same("regular"), true),
        ("step", Arc::new(Int64Array::from((0..count).map(|at| 1 + at as i64 % 3).collect::<Vec<_>>())), true),
        ("currency", same("EUR"), true),
        ("rhythm_days", Arc::new(Decimal128Array::from(vec![4_200; count]).with_precision_and_scale(10, 2).unwrap()), true),
        ("usual_days", number(42), true),
        ("tip_category", same("coffee"), true),
    ])
    .unwrap()
}

fn customers(guests: &[Guest]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(vec![
        ("customer_id", text(guests.iter().map(|guest| Some(guest.id.as_str()))), false),
        ("email", text(guests.iter().map(|guest| guest.email.as_deref())), true),
        ("first_name", text(guests.iter().map(|guest| guest.first.as_deref())), true),
        ("last_name", text(guests.iter().map(|guest| guest.last.as_deref())), true),
        ("locale", text(guests.iter().map(|_| Some("en-GB"))), true),
        ("deleted_at", Arc::new(TimestampMicrosecondArray::from(vec![None; guests.len()]).with_timezone("UTC")), true),
    ])
    .unwrap()
}

fn consents(guests: &[Guest], granted: impl Fn(usize) -> bool) -> RecordBatch {
    let count = guests.len();
    let same = |value: &'static str| text(std::iter::repeat_n(Some(value), count));
    RecordBatch::try_from_iter(vec![
        ("customer_id", text(guests.iter().map(|guest| Some(guest.id.as_str())))),
        ("channel", same("email")),
        ("purpose", same("marketing")),
        ("status", text((0..count).map(|at| Some(if granted(at) { "granted" } else { "denied" })))),
        ("at", days_ago(count, 300)),
    ])
    .unwrap()
}

fn tickets(ids: &[&str]) -> RecordBatch {
    let count = ids.len();
    let same = |value: &'static str| text(std::iter::repeat_n(Some(value), count));
    RecordBatch::try_from_iter_with_nullable(vec![
        ("customer_id", text(ids.iter().map(|id| Some(*id))), true),
        ("kind", same("complaint"), true),
        ("status", same("open"), true),
        ("opened_at", days_ago(count, 3), true),
        ("resolved_at", Arc::new(TimestampMicrosecondArray::from(vec![None; count]).with_timezone("UTC")) as ArrayRef, true),
    ])
    .unwrap()
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
    }
}

impl House {
    /// A shop whose lapsed and at-risk customers are all of `guests`; every tenth has not agreed to mail.
    async fn new(guests: &[Guest]) -> Self {
        let root = tempfile::tempdir().unwrap();
        for name in ["win-back", "check-in"] {
            let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join(CAMPAIGNS).join(name);
            copy(&shipped, &root.path().join(CAMPAIGNS).join(name));
        }
        let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
        let ledger = fixture::open(root.path()).await;
        let campaigns = Campaign::load_all(&Folder::new(root.path(), None, std::iter::empty())).unwrap();
        let keys = Keys::new(Secret::new("practice"));
        let mut house = Self { root, lake, ledger, keys, brand: brand(), versions: BTreeMap::new(), stale: BTreeMap::new(), campaigns };
        house.fill("lapsed", segment(guests)).await;
        house.fill("at_risk", segment(&guests[..guests.len().min(5)])).await;
        house.fill("customers", customers(guests)).await;
        house.fill("consents", consents(guests, |at| at % 10 != 9)).await;
        house.fill("tickets", tickets(&["crm:00010"])).await;
        house
    }

    /// Puts rows in place of a table.
    async fn fill(&mut self, table: &str, rows: RecordBatch) {
        let schema: SchemaRef = rows.schema();
        let stream =
            datafusion::physical_plan::stream::RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter([Ok(rows)]));
        let written = self.lake.replace(table, schema, Box::pin(stream), Commit::default()).await.unwrap();
        self.versions.insert(table.to_owned(), written.version);
    }

    fn request(&self) -> PlanRequest<'_> {
        PlanRequest {
            root: self.root.path(),
            campaigns: &self.campaigns,
            only: Some("win-back"),
            lake: &self.lake,
            versions: &self.versions,
            stale: &self.stale,
            ledger: &self.ledger,
            keys: &self.keys,
            brand: &self.brand,
            as_of: as_of(),
            now: as_of() + TimeDelta::minutes(5),
            replay: false,
            run: None,
            limits: Limits::default(),
            practice: true,
            public_url: "https://fernwood.example/mail",
        }
    }

    /// The one plan of a request that succeeds.
    async fn made(&self, request: PlanRequest<'_>) -> Made {
        let mut planned = plan_slot(request).await.unwrap();
        assert_eq!(planned.len(), 1);
        planned.remove(0).outcome.unwrap()
    }

    async fn refusal(&self, request: PlanRequest<'_>) -> (Diagnosis, Exit) {
        let error = plan_slot(request).await.unwrap().remove(0).outcome.unwrap_err();
        (error.diagnosis(), error.exit())
    }

    fn folder(&self, plan: &PlanId) -> PathBuf {
        self.root.path().join(plan_folder(plan))
    }

    async fn open(&self, plan: &PlanId) -> Result<FrozenPlan, CampaignError> {
        FrozenPlan::open(self.root.path(), &self.ledger, &self.keys, plan).await
    }

    fn edit(&self, file: &str, from: &str, to: &str) {
        let path = self.root.path().join(file);
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{file} has no {from}");
        std::fs::write(path, text.replace(from, to)).unwrap();
    }

    /// Reads the campaigns again after an edit.
    fn reload(&mut self) {
        self.campaigns = Campaign::load_all(&Folder::new(self.root.path(), None, std::iter::empty())).unwrap();
    }
}

fn balanced(summary: &PlanSummary) {
    assert_eq!(summary.in_segment, summary.planned + summary.excluded.values().sum::<u64>(), "{summary:?}");
}

fn excluded(summary: &PlanSummary, reason: &str) -> u64 {
    summary.excluded.get(reason).copied().unwrap_or_default()
}

fn decisions(frozen: &FrozenPlan) -> Vec<PlanRow> {
    frozen.decisions().unwrap().map(Result::unwrap).collect()
}

fn planned(frozen: &FrozenPlan) -> Vec<PlanRow> {
    frozen.planned().unwrap().map(|planned| planned.unwrap().0).collect()
}

#[tokio::test]
async fn a_slot_is_planned_frozen_and_opens_again() {
    let mut guests = guests(120);
    guests[20].email = None;
    guests[21].order = None;
    guests[22].email = guests[23].email.clone();
    let mut house = House::new(&guests).await;
    let suppression = NewSuppression {
        customer_id: Some(CustomerId::new("crm:00030")),
        address_hash: None,
        address: None,
        channel: "email".into(),
        scope: Scope::Marketing,
        reason: "unsubscribed".into(),
        by: None,
    };
    house.ledger.suppress(&suppression, as_of()).await.unwrap();
    house.reload();
    let made = plan_slot(PlanRequest { only: None, ..house.request() }).await.unwrap();
    let names: Vec<&str> = made.iter().map(|planned| planned.campaign.as_str()).collect();
    assert_eq!(names, ["check-in", "win-back"]);
    let [check_in, win_back] = &made[..] else { panic!() };
    let (check_in, win_back) = (check_in.outcome.as_ref().unwrap(), win_back.outcome.as_ref().unwrap());
    balanced(&check_in.summary);
    balanced(&win_back.summary);

    // check-in has the higher priority: its people, and its control group, are not written to by win-back.
    assert_eq!(check_in.summary.planned + excluded(&check_in.summary, "holdout"), 5);
    for (reason, count) in [
        ("missing_field:last_order_id", 1),
        ("no_address", 1),
        ("no_consent", 12),
        ("suppressed", 1),
        ("open_complaint", 1),
        ("outranked", 5),
        ("duplicate_address", 1),
    ] {
        assert_eq!(excluded(&win_back.summary, reason), count, "{reason}: {:?}", win_back.summary);
    }
    assert!((3..25).contains(&excluded(&win_back.summary, "holdout")), "{:?}", win_back.summary);
    assert!(win_back.summary.plan.as_str().starts_with("win-back-20261122T010000Z-"));
    assert_eq!(win_back.summary.expires_at, "2026-11-23T13:05:00Z");

    let frozen = house.open(&win_back.summary.plan).await.unwrap();
    let decisions = decisions(&frozen);
    assert_eq!(decisions.len(), 120);
    assert!(decisions.is_sorted_by(|a, b| a.customer < b.customer));
    let planned: Vec<_> = frozen.planned().unwrap().map(Result::unwrap).collect();
    assert_eq!(planned.len() as u64, win_back.summary.planned);
    for column in ["email", "no_such_column"] {
        let only: Vec<_> = frozen.planned_with(Some(column)).unwrap().map(Result::unwrap).collect();
        let all = planned.iter().map(|(row, seen)| (row.clone(), seen.clone().into_iter().filter(|(name, _)| name == column).collect()));
        assert!(only.iter().cloned().eq(all), "{column}");
    }
    let templates = frozen.templates().unwrap();
    for (row, seen) in &planned {
        assert_eq!(seen["customer_id"], crate::message::Field::Text(row.customer.to_string()));
        assert!(matches!(row.variant.as_deref(), Some("plain" | "offer")));
        let letter = Letter {
            message_id: row.message_id.as_ref().unwrap().as_str(),
            variant: row.variant.as_deref(),
            step: row.step,
            to: "someone@shop.example",
        };
        let envelope = frozen.envelope(&letter, Some("https://fernwood.example/u/x".into()), as_of());
        assert_eq!(envelope.offer.is_some(), row.variant.as_deref() == Some("offer"));
        let Message::Email { bytes, .. } = templates.render(seen, &envelope).unwrap() else { panic!() };
        let bytes = String::from_utf8_lossy(&bytes).into_owned();
        assert!(bytes.contains(&format!("Message-ID: <{}>", row.message_id.as_ref().unwrap())));
    }
    assert_eq!(
        frozen.person(&CustomerId::new("crm:00021")).unwrap().unwrap().0.reason.as_ref().unwrap().key(),
        "missing_field:last_order_id"
    );

    let assigned = frozen.assignments().unwrap();
    assert_eq!(assigned.len() as u64, win_back.summary.planned + excluded(&win_back.summary, "holdout"));
    approve(house.root.path(), &house.ledger, &house.keys, &win_back.summary.plan, "Mara", as_of() + TimeDelta::hours(1)).await.unwrap();
    let again = house.made(house.request()).await;
    assert_eq!((again.fresh, again.summary.status), (false, PlanStatus::Approved), "an approved plan is met again");
    let next = as_of() + TimeDelta::days(2);
    let late = house.made(PlanRequest { as_of: next, now: next, ..house.request() }).await;
    assert!(late.fresh, "an approval that ran out stands in nobody's way");
    assert_eq!(house.ledger.plan(&win_back.summary.plan).await.unwrap().unwrap().status, PlanStatus::Expired);
}

#[tokio::test]
async fn the_same_inputs_make_the_same_bytes_and_the_same_plan() {
    let guests = guests(60);
    let (one, two) = (House::new(&guests).await, House::new(&guests).await);
    let first = one.made(one.request()).await;
    let later = one.made(PlanRequest { now: as_of() + TimeDelta::hours(3), ..one.request() }).await;
    assert_eq!((first.fresh, later.fresh), (true, false));
    assert_eq!(first.summary, later.summary);
    let other = two.made(PlanRequest { now: as_of() + TimeDelta::hours(7), only: Some("win-back"), ..two.request() }).await;
    assert_eq!(first.summary.plan, other.summary.plan);
    for file in ["plan.parquet", "rows.parquet", "review.html"] {
        let bytes = |house: &House| std::fs::read(house.folder(&first.summary.plan).join(file)).unwrap();
        assert_eq!(bytes(&one), bytes(&two), "{file}");
    }
}

#[tokio::test]
async fn a_slot_planned_again_after_delivery_finds_the_same_plan() {
    let guests = guests(40);
    let house = House::new(&guests).await;
    let both = || PlanRequest { only: None, ..house.request() };
    let before: Vec<PlanSummary> = plan_slot(both()).await.unwrap().into_iter().map(|planned| planned.outcome.unwrap().summary).collect();
    let check_in = &before[0].plan;
    approve(house.root.path(), &house.ledger, &house.keys, check_in, "Mara", as_of()).await.unwrap();
    for row in planned(&house.open(check_in).await.unwrap()) {
        house.tell(row.message_id.as_ref().unwrap(), "check-in", check_in, &row.customer, as_of() + TimeDelta::hours(1)).await;
    }
    let after = house.made(house.request()).await;
    assert_eq!((after.fresh, &after.summary), (false, &before[1]), "messages of the slot do not change the slot's other plans");
}

impl House {
    /// Notes a message as accepted.
    async fn tell(&self, id: &MessageId, campaign: &str, plan: &PlanId, customer: &CustomerId, at: DateTime<Utc>) {
        self.ledger.note_message_for_test(id, campaign, plan, customer, at).await.unwrap();
    }
}

#[tokio::test]
async fn a_person_hears_about_an_occasion_once_and_has_peace_afterwards() {
    let guests = guests(60);
    let house = House::new(&guests).await;
    let first = house.made(house.request()).await.summary;
    let frozen = house.open(&first.plan).await.unwrap();
    for row in planned(&frozen) {
        house.tell(row.message_id.as_ref().unwrap(), "win-back", &first.plan, &row.customer, as_of() + TimeDelta::hours(1)).await;
    }
    let night = |days| PlanRequest { as_of: as_of() + TimeDelta::days(days), now: as_of() + TimeDelta::days(days), ..house.request() };
    let second = house.made(night(1)).await.summary;
    balanced(&second);
    assert_eq!(excluded(&second, "already_told"), first.planned);
    assert_eq!(second.planned, 0);
    assert_eq!(house.ledger.plan(&first.plan).await.unwrap().unwrap().status, PlanStatus::Superseded);

    // Another occasion: cool-off for a week, and then a cap that is full.
    let mut again = guests.clone();
    again.iter_mut().for_each(|guest| guest.order = guest.order.as_ref().map(|order| format!("new-{order}")));
    let mut house = house;
    house.fill("lapsed", segment(&again)).await;
    let night = |days| PlanRequest { as_of: as_of() + TimeDelta::days(days), now: as_of() + TimeDelta::days(days), ..house.request() };
    assert_eq!(excluded(&house.made(night(3)).await.summary, "cool_off"), first.planned);
    let cap = Limits { cap: Some(Cap { messages: 1, within: Period::days(30) }), ..Limits::default() };
    assert_eq!(excluded(&house.made(PlanRequest { limits: cap, ..night(8) }).await.summary, "capped"), first.planned);
    assert_eq!(house.made(night(9)).await.summary.planned, first.planned);
}

#[tokio::test]
async fn an_altered_plan_cannot_be_opened_or_approved() {
    let house = House::new(&guests(30)).await;
    let plan = house.made(house.request()).await.summary.plan;
    let folder = house.folder(&plan);
    let refused = async |what: &str| {
        let error = approve(house.root.path(), &house.ledger, &house.keys, &plan, "Mara", as_of()).await.unwrap_err();
        assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("plan_altered", Exit::Wrong), "{what}");
    };
    let decisions = frozen::read_decisions(&folder).unwrap();
    let original = |name: &str| std::fs::read(folder.join(name)).unwrap();
    let (plan_file, rows_file) = (original("plan.parquet"), original("rows.parquet"));

    let mut one_more = decisions.clone();
    let excluded = one_more.iter().position(|row| row.reason.is_some()).unwrap();
    one_more[excluded].reason = None;
    frozen::write_table(&folder.join("plan.parquet"), &frozen::plan_batch(&one_more).unwrap()).unwrap();
    refused("a person added").await;
    let mut other = decisions.clone();
    other.iter_mut().find(|row| row.is_planned()).unwrap().variant = Some("offer!".into());
    frozen::write_table(&folder.join("plan.parquet"), &frozen::plan_batch(&other).unwrap()).unwrap();
    refused("a variant altered").await;
    std::fs::write(folder.join("plan.parquet"), &plan_file).unwrap();

    let seen = frozen::read_table(&folder.join("rows.parquet")).unwrap();
    frozen::write_table(&folder.join("rows.parquet"), &seen.slice(0, seen.num_rows() - 1)).unwrap();
    refused("a row taken away").await;
    std::fs::write(folder.join("rows.parquet"), "no parquet").unwrap();
    refused("a broken file").await;
    std::fs::remove_file(folder.join("rows.parquet")).unwrap();
    refused("a file gone").await;
    std::fs::write(folder.join("rows.parquet"), &rows_file).unwrap();

    for (file, from, to) in [
        ("templates/email.txt", "Language: en", "Language: en "),
        ("templates/campaign.toml", "COMEBACK10", "COMEBACK90"),
        ("manifest.json", "Fernwood <hello@fernwood.example>", "Evil <hello@evil.example>"),
    ] {
        let file = plan_folder(&plan).join(file);
        let text = std::fs::read(house.root.path().join(&file)).unwrap();
        house.edit(&file.to_string_lossy(), from, to);
        refused(&file.to_string_lossy()).await;
        std::fs::write(house.root.path().join(&file), text).unwrap();
    }
    std::fs::write(folder.join("templates/extra.mjml"), "x").unwrap();
    refused("a template added").await;
    std::fs::remove_file(folder.join("templates/extra.mjml")).unwrap();
    approve(house.root.path(), &house.ledger, &house.keys, &plan, "Mara", as_of()).await.unwrap();
    assert!(house.open(&PlanId::new("win-back-20261122T010000Z-00000000")).await.unwrap_err().diagnosis().code == "unknown_plan");
}

#[tokio::test]
async fn an_erased_person_leaves_a_tombstone_that_still_verifies() {
    let house = House::new(&guests(40)).await;
    let plan = house.made(house.request()).await.summary.plan;
    let mut frozen = house.open(&plan).await.unwrap();
    let person = planned(&frozen)[3].customer.clone();
    let excluded = decisions(&frozen).iter().find(|row| row.reason.is_some()).unwrap().customer.clone();
    let before = planned(&frozen).len();
    let held = house.open(&plan).await.unwrap();
    for customer in [&person, &excluded] {
        assert!(frozen.erase(&house.keys, customer).unwrap());
        assert!(!frozen.erase(&house.keys, customer).unwrap());
        frozen = house.open(&plan).await.unwrap();
        assert!(frozen.person(customer).unwrap().is_none());
    }
    let changed = held.planned().err().unwrap().diagnosis();
    assert_eq!(changed.code, "plan_changed", "whoever verified another file reads no more of this one: {changed:?}");
    assert_eq!(planned(&frozen).len(), before - 1);
    assert_eq!(frozen.planned().unwrap().map(Result::unwrap).count(), before - 1);
    assert_eq!(decisions(&frozen).len(), 40);
    assert!(!house.folder(&plan).join("review.html").exists());
    approve(house.root.path(), &house.ledger, &house.keys, &plan, "Mara", as_of()).await.unwrap();
}

#[tokio::test]
async fn what_is_wrong_with_one_campaign_does_not_stop_the_others() {
    let mut house = House::new(&guests(30)).await;
    house.edit("jobs/campaigns/check-in/email.txt", "{{ greeting() }}", "{{ greeting() }} {{ frist_name }}");
    let planned = plan_slot(PlanRequest { only: None, ..house.request() }).await.unwrap();
    let error = planned[0].outcome.as_ref().unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("template_field", Exit::Wrong));
    assert_eq!(error.diagnosis().file.as_deref(), Some(Path::new("jobs/campaigns/check-in/email.txt")));
    assert!(planned[1].outcome.is_ok());

    house.versions.remove("at_risk");
    let (diagnosis, exit) = house.refusal(PlanRequest { only: Some("check-in"), ..house.request() }).await;
    assert_eq!((diagnosis.code.as_str(), exit, diagnosis.line), ("not_built", Exit::Wrong, Some(2)));

    house.edit("jobs/campaigns/win-back/campaign.toml", "\"last_order_id\"", "\"last_ordr_id\"");
    house.reload();
    let (diagnosis, exit) = house.refusal(house.request()).await;
    assert_eq!((diagnosis.code.as_str(), exit), ("missing_column", Exit::Wrong));
    assert!(diagnosis.hint.unwrap().contains("last_order_id"));
    assert!(plan_slot(PlanRequest { only: Some("winback"), ..house.request() }).await.is_err());
}

#[tokio::test]
async fn a_segment_of_another_night_is_not_planned_and_one_that_says_who_came_back_stops_all() {
    let mut house = House::new(&guests(30)).await;
    let typo = Failure::wrong(Diagnosis::new("sql_unknown_column", "there is no column `x`").in_file("sql/segments/lapsed.sql"));
    house.stale.insert("lapsed".into(), typo);
    let planned = plan_slot(PlanRequest { only: None, ..house.request() }).await.unwrap();
    assert!(planned[0].outcome.is_ok(), "the others are planned");
    let error = planned[1].outcome.as_ref().unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit(), error.diagnosis().line), ("segment_stale", Exit::Wrong, Some(3)));
    assert!(error.diagnosis().message.contains("there is no column `x`"), "{error}");
    assert!(house.ledger.plans(Some("win-back")).await.unwrap().is_empty());

    house.stale = BTreeMap::from([("orders".to_owned(), Failure::failed(Diagnosis::new("audit", "one row breaks it")))]);
    let error = plan_slot(house.request()).await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("segment_stale", Exit::Failed));
    assert!(error.diagnosis().hint.is_some());
}

#[tokio::test]
async fn an_edit_taken_back_brings_back_its_plan() {
    let house = House::new(&guests(30)).await;
    let first = house.made(house.request()).await.summary.plan;
    house.edit("jobs/campaigns/win-back/email.txt", "{{ greeting() }}", "{{ greeting() }}!");
    let edited = house.made(house.request()).await.summary.plan;
    house.edit("jobs/campaigns/win-back/email.txt", "{{ greeting() }}!", "{{ greeting() }}");
    let again = house.made(house.request()).await;
    assert_eq!((&again.summary.plan, again.summary.status), (&first, PlanStatus::Draft));
    assert_eq!(house.ledger.plan(&edited).await.unwrap().unwrap().status, PlanStatus::Superseded);
    approve(house.root.path(), &house.ledger, &house.keys, &first, "Mara", as_of()).await.unwrap();
}

#[tokio::test]
async fn one_person_without_a_value_stays_out_and_many_stop_the_plan() {
    let mut guests = guests(60);
    guests[20].order = None;
    let mut house = House::new(&guests).await;
    let summary = house.made(house.request()).await.summary;
    balanced(&summary);
    assert_eq!(excluded(&summary, "missing_field:last_order_id"), 1);
    assert!(summary.planned > 30);

    guests[25].order = None;
    house.fill("lapsed", segment(&guests)).await;
    let (diagnosis, exit) = house.refusal(house.request()).await;
    assert_eq!((diagnosis.code.as_str(), exit), ("max_missing", Exit::Failed));
    assert!(diagnosis.message.contains("2 of 60"), "{diagnosis}");
    assert!(diagnosis.message.contains("last_order_id (2)"), "{diagnosis}");
}

#[tokio::test]
async fn a_letter_that_does_not_show_how_to_stop_it_is_not_planned() {
    let house = House::new(&guests(30)).await;
    house.edit("jobs/campaigns/win-back/email.txt", "Stop letters from us: {{ unsubscribe_url }}", "");
    let (diagnosis, exit) = house.refusal(house.request()).await;
    assert_eq!((diagnosis.code.as_str(), exit), ("no_way_out", Exit::Wrong));
    assert_eq!(diagnosis.file.as_deref(), Some(Path::new("jobs/campaigns/win-back/email.txt")));
    assert!(diagnosis.hint.unwrap().contains("{{ unsubscribe_url }}"));
}

#[tokio::test]
async fn what_a_condition_of_the_letter_needs_is_missed_before_any_other_gate() {
    let mut many = guests(60);
    // Number 19 has not agreed to mail either, number 20 has no address either.
    (many[19].product, many[20].product, many[20].email) = (None, None, None);
    let mut house = House::new(&many).await;
    house.edit(
        "jobs/campaigns/win-back/email.txt",
        "{{ greeting() }}",
        "{{ greeting() }} {% if quiet_days > 100 or last_product %}{{ last_product }}{% endif %}",
    );
    house.edit("jobs/campaigns/win-back/campaign.toml", "max_missing = \"1%\"", "max_missing = \"10%\"");
    house.reload();
    house.fill("lapsed", segment(&many)).await;
    let summary = house.made(house.request()).await.summary;
    balanced(&summary);
    assert_eq!(excluded(&summary, "missing_field:last_product"), 2, "{summary:?}");
    assert_eq!((excluded(&summary, "no_consent"), excluded(&summary, "no_address")), (5, 0), "{summary:?}");
}

#[tokio::test]
async fn an_address_no_letter_may_link_to_is_as_good_as_none_and_the_page_says_so() {
    let many = guests(60);
    let mut house = House::new(&many).await;
    let rows = segment(&many);
    let at = rows.schema().index_of("next_product_url").unwrap();
    let mut columns = rows.columns().to_vec();
    columns[at] = text((0..60).map(|number| Some(if number == 20 { "http://fernwood.example/p" } else { "https://fernwood.example/a b" })));
    house.fill("lapsed", RecordBatch::try_new(rows.schema(), columns).unwrap()).await;
    let made = house.made(house.request()).await;
    balanced(&made.summary);
    assert!(made.summary.planned > 30);
    assert!(made.warnings.iter().any(|warning| warning.contains("`next_product_url` is no https address for 1 people")), "{made:?}");
}

#[tokio::test]
async fn a_damaged_plan_stops_no_other_campaign() {
    let house = House::new(&guests(40)).await;
    let both = || PlanRequest { only: None, ..house.request() };
    let planned = plan_slot(both()).await.unwrap();
    let check_in = planned[0].outcome.as_ref().unwrap().summary.plan.clone();
    approve(house.root.path(), &house.ledger, &house.keys, &check_in, "Mara", as_of()).await.unwrap();
    std::fs::remove_file(house.folder(&check_in).join("plan.parquet")).unwrap();
    let made = house.made(house.request()).await;
    assert_eq!(excluded(&made.summary, "outranked"), 5, "its people and its control group are still not written to");
    assert_eq!(Some(&made.summary), planned[1].outcome.as_ref().ok().map(|made| &made.summary));
}

#[tokio::test]
async fn whoever_was_merged_into_another_is_not_told_again() {
    let house = House::new(&guests(40)).await;
    let (old, now) = (CustomerId::new("shop:12"), CustomerId::new("crm:00012"));
    let first = house.made(house.request()).await.summary;
    let step = house.open(&first.plan).await.unwrap().person(&now).unwrap().unwrap().0.step;
    house.ledger.note_occasion_for_test("win-back", &old, "o-12", step, as_of() - TimeDelta::days(40)).await.unwrap();
    let next = as_of() + TimeDelta::days(1);
    let night = || PlanRequest { as_of: next, now: next, ..house.request() };
    let told = async || excluded(&house.made(night()).await.summary, "already_told");
    assert_eq!(told().await, 0);
    crate::ledger::fixture::run(&house.ledger, "insert into aliases values ('shop:12', 'crm:00012')").await;
    assert_eq!(told().await, 1);
}

#[tokio::test]
async fn a_note_to_staff_does_not_wait_for_the_customer_s_morning() {
    let mut house = House::new(&guests(40)).await;
    let folder = house.root.path().join("jobs/campaigns/handoff");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("webhook.json"), "{\"who\": {{ customer_id }}}").unwrap();
    let settings = "segment = \"lapsed\"\nkind = \"internal\"\nchannel = \"webhook\"\noccasion = \"last_order_id\"\napproval = \"review\"\nreply_to = \"hello@fernwood.example\"\n";
    std::fs::write(folder.join("campaign.toml"), settings).unwrap();
    house.reload();
    let time = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    let limits = Limits { quiet_hours: Some(QuietHours { from: time(21), to: time(8) }), ..Limits::default() };
    let made = house.made(PlanRequest { limits, only: Some("handoff"), ..house.request() }).await;
    let frozen = house.open(&made.summary.plan).await.unwrap();
    assert_eq!(planned(&frozen).len(), 40);
    assert!(planned(&frozen).iter().all(|row| row.send_after == Some(as_of())));
}

#[tokio::test]
async fn a_campaign_approves_itself_only_within_its_limits() {
    let many = guests(40);
    let mut house = House::new(&many).await;
    house.edit("jobs/campaigns/win-back/campaign.toml", "\"review\"", "\"auto\"");
    house.reload();
    let first = house.made(house.request()).await;
    assert_eq!((first.summary.status, first.warnings), (PlanStatus::Approved, vec![]));
    let events = house.ledger.plan_events(&first.summary.plan).await.unwrap();
    assert_eq!(events.last().unwrap().by.as_deref(), Some("auto"));
    // A process that died between the draft and its approval.
    fixture::run(&house.ledger, "update plans set status = 'draft'").await;
    let again = house.made(house.request()).await;
    assert_eq!((again.fresh, again.summary.status), (false, PlanStatus::Approved));

    let house = House::new(&many).await;
    house.edit("jobs/campaigns/win-back/campaign.toml", "\"review\"", "\"auto\"");
    house.edit("jobs/campaigns/win-back/campaign.toml", "max_recipients = 2000", "max_recipients = 5");
    let mut house = house;
    house.reload();
    let first = house.made(house.request()).await;
    assert_eq!(first.summary.status, PlanStatus::Draft);
    assert!(first.warnings[0].contains("not this time"), "{:?}", first.warnings);

    house.edit("jobs/campaigns/win-back/campaign.toml", "max_recipients = 5", "max_recipients = 5000");
    house.reload();
    house.fill("lapsed", segment(&guests(90))).await;
    house.fill("customers", customers(&guests(90))).await;
    let next = as_of() + TimeDelta::days(1);
    let grown = house.made(PlanRequest { as_of: next, now: next, ..house.request() }).await;
    assert_eq!(grown.summary.status, PlanStatus::Draft);
    assert!(grown.warnings[0].contains("max_change"), "{:?}", grown.warnings);
    assert!(grown.summary.excluded.contains_key("no_consent"));
    let replay = house.made(PlanRequest { replay: true, ..house.request() }).await;
    assert_eq!((replay.summary.status, replay.summary.replay), (PlanStatus::Draft, true));
}

#[tokio::test]
async fn letters_wait_until_the_morning_where_people_live() {
    let house = House::new(&guests(40)).await;
    let time = |hour| NaiveTime::from_hms_opt(hour, 0, 0).unwrap();
    let limits = Limits { quiet_hours: Some(QuietHours { from: time(21), to: time(8) }), ..Limits::default() };
    let made = house.made(PlanRequest { limits, ..house.request() }).await;
    let frozen = house.open(&made.summary.plan).await.unwrap();
    // 01:00 UTC is 02:00 in Berlin, 20:00 in New York and 10:00 in Tokyo.
    for row in planned(&frozen) {
        let berlin = row.customer.as_str()[4..].parse::<u32>().unwrap().is_multiple_of(3);
        let expected = if berlin { as_of() + TimeDelta::hours(6) } else { as_of() };
        assert_eq!(row.send_after, Some(expected), "{}", row.customer);
    }
    assert!(planned(&frozen).len() > 5);
    assert!(made.warnings.iter().any(|warning| warning.contains("night")), "{:?}", made.warnings);
}

#[tokio::test]
async fn the_page_shows_everybody_and_lets_no_name_become_markup() {
    let many = guests(150);
    let mut house = House::new(&many).await;
    house.made(PlanRequest { as_of: as_of() - TimeDelta::days(1), now: as_of() - TimeDelta::days(1), ..house.request() }).await;
    house.fill("lapsed", segment(&many[3..])).await;
    house.fill("at_risk", segment(&many[100..101])).await;
    let made = house.made(house.request()).await;
    let page = std::fs::read_to_string(house.root.path().join(&made.review)).unwrap();
    let plan = &made.summary.plan;
    for words in [
        "PRACTICE DATA",
        "waiting for approval",
        "control group",
        "has not agreed to marketing mail",
        &format!("perennial approve {plan} --by NAME"),
        &format!("perennial hold {plan}"),
        &format!("perennial reject {plan} --by NAME"),
        "Approve it",
        &format!("Approving sends nothing by itself: <code>perennial deliver {plan}</code>"),
        "0 came into the segment",
        "3 left it",
        "the longest name",
        "a name written from right to left",
        "Okafor",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert!(!page.contains("<img src=x"), "a name became markup");
    assert_eq!(page.matches("</script>").count(), 2);
    assert!(!page.contains("http://") && !page.contains("<link") && !page.contains("src=\"http"), "the page asks the network");
    let data = page.split_once("id=\"data\">").unwrap().1.split_once("</script>").unwrap().0;
    let data: serde_json::Value = serde_json::from_str(data).unwrap();
    let people = data["people"].as_array().unwrap();
    assert_eq!(people.len(), 147);
    assert_eq!(people[2][1], format!("{HOSTILE} Bobby"));
}

#[tokio::test]
async fn why_and_preview_speak_of_one_person() {
    let house = House::new(&guests(30)).await;
    plan_slot(PlanRequest { only: None, ..house.request() }).await.unwrap();
    let answers = why(house.root.path(), &house.ledger, &CustomerId::new("crm:00019"), None).await.unwrap();
    assert_eq!(answers.iter().map(|answer| answer.decision).collect::<Vec<_>>(), ["not_in_segment", "excluded"]);
    assert_eq!(answers[1].reason.as_deref(), Some("no_consent"));
    assert!(answers[1].words.contains("has not agreed to marketing mail"));
    // Somebody who is planned, and has bought by the time their letter would leave.
    let customer = CustomerId::new("crm:00007");
    let planned = why(house.root.path(), &house.ledger, &customer, Some("win-back")).await.unwrap().remove(0);
    assert_eq!((planned.decision, planned.state), ("send", None));
    crate::ledger::fixture::run(
        &house.ledger,
        &format!(
            "insert into recipients (plan, customer_id, message_id, state, reason, updated_at)
             values ('{}', 'crm:00007', 'm', 'cancelled', 'bought_since', 0)",
            planned.plan
        ),
    )
    .await;
    let dropped = why(house.root.path(), &house.ledger, &customer, Some("win-back")).await.unwrap().remove(0);
    assert_eq!((dropped.state, dropped.reason.as_deref()), (Some(crate::ledger::State::Cancelled), Some("bought_since")));
    assert!(dropped.words.contains("dropped out before it was sent: has bought since"), "{}", dropped.words);
    let request = PreviewRequest {
        root: house.root.path(),
        lake: &house.lake,
        versions: &house.versions,
        keys: &house.keys,
        brand: &house.brand,
        as_of: as_of(),
        practice: true,
        public_url: "https://fernwood.example",
        to: None,
    };
    let win_back = house.campaigns.iter().find(|campaign| campaign.name == "win-back").unwrap();
    let Message::Email { text, .. } = preview(request, win_back, &CustomerId::new("crm:00019")).await.unwrap() else { panic!() };
    assert!(text.contains("Dev"), "{text}");
    let error = preview(request, win_back, &CustomerId::new("crm:99999")).await.unwrap_err();
    assert_eq!(error.diagnosis().code, "not_in_segment");
}

#[test]
fn the_shipped_campaigns_read_and_are_of_their_kinds() {
    let folder = Folder::new(env!("CARGO_MANIFEST_DIR"), None, std::iter::empty());
    let campaigns = Campaign::load_all(&folder).unwrap();
    let found: Vec<(&str, &str, Kind)> =
        campaigns.iter().map(|one| (one.name.as_str(), one.settings.segment.as_str(), one.settings.kind)).collect();
    assert_eq!(
        found,
        [
            ("check-in", "at_risk", Kind::Marketing),
            ("first-thanks", "first_thanks", Kind::Marketing),
            ("loyal-thanks", "loyal_thanks", Kind::Marketing),
            ("make-it-right", "make_it_right", Kind::Service),
            ("vip-handoff", "vip_handoff", Kind::Internal),
            ("win-back", "lapsed", Kind::Marketing),
        ]
    );
    let error = Campaign::load(&folder, "winback").unwrap_err();
    assert_eq!(error.diagnosis().hint.as_deref(), Some("did you mean `win-back`?"));
}
