//! Builds over a real lake, engine and ledger.

use std::path::PathBuf;

use arrow::{
    array::{AsArray, RecordBatch},
    datatypes::{Decimal128Type, SchemaRef},
    util::display::array_value_to_string,
};
use serde_json::{Value, json};

use super::*;
use crate::{
    diagnosis::{Diagnose, Exit, Failure},
    engine::{Engine, EngineSettings},
    ledger::{CustomerId, LedgerSettings},
    model::{
        canonical::canonical,
        fixture::{Project, RAW, at, brand, outcome, raw_schema, texts},
    },
};

#[tokio::test]
async fn records_of_several_sources_become_one_person() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build(0).await;
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    let identities = project.rows(&built, "identities").await;
    assert_eq!(identities, ["crm|a|crm:a", "crm|b|shop:2", "shop|1|crm:a", "shop|2|shop:2", "shop|3|shop:3", "shop|9|shop:9"]);

    let customers = project.lake.read("customers", Some(built.versions["customers"])).await.unwrap();
    let columns = ["customer_id", "email", "phone", "first_name", "locale", "timezone", "created_at", "deleted_at"];
    let shown: Vec<RecordBatch> =
        customers.iter().map(|batch| batch.project(&columns.map(|name| batch.schema().index_of(name).unwrap())).unwrap()).collect();
    assert_eq!(
        texts(&shown),
        [
            "crm:a|ann@example.org|1|Ann|en-GB|Asia/Tokyo|2025-06-01T00:00:00Z|-",
            "shop:2|Bob@example.org|2|Bob|en-GB|Europe/Berlin|2026-01-03T00:00:00Z|-",
            "shop:3|cy@example.org|-|Cy|en-GB|Europe/Berlin|2026-01-03T00:00:00Z|2026-05-01T00:00:00Z",
            "shop:9|-|-|-|en-GB|Europe/Berlin|-|-",
        ]
    );
}

#[tokio::test]
async fn amounts_are_turned_into_the_brands_currency_and_the_future_is_not_seen() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build(0).await;
    assert_eq!(
        project.rows(&built, "features").await,
        ["crm:a|1|2026-09-01T10:00:00Z|10.5000", "shop:2|1|2026-10-30T10:00:00Z|9.0000", "shop:9|1|2026-09-01T10:00:00Z|1.0000"]
    );
    assert_eq!(project.rows(&built, "lapsed").await, ["crm:a|ann@example.org|1", "shop:9|-|1"]);
    let later = project.build(20).await;
    assert_eq!(project.rows(&later, "lapsed").await, ["shop:2|Bob@example.org|1", "shop:9|-|1"]);
}

#[tokio::test]
async fn an_amount_without_a_rate_keeps_yesterdays_orders() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    let order = json!([{"id": "o9", "customer_id": "2", "ordered_at": "2026-10-31T10:00:00Z", "status": "paid", "currency": "JPY", "total": "900"}]);
    project.give("shop__orders", order).await;
    let second = project.build(1).await;
    assert!(
        matches!(outcome(&second, "orders"), Outcome::Kept(why) if why.contains("JPY (1 rows, from 2026-10-31 on)")),
        "{:?}",
        second.failures
    );
    assert_eq!(second.versions["orders"], first.versions["orders"]);
    assert_eq!(*outcome(&second, "lapsed"), Outcome::Blocked("features".into()));
    assert_eq!((second.failures[0].diagnosis.code.as_str(), second.failures[0].exit), ("missing_rate", Exit::Failed));
}

#[tokio::test]
async fn a_failed_audit_keeps_yesterdays_table_and_blocks_what_rests_on_it() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    project.write(
        "models/features",
        "/* ---\nkey = 'customer_id'\n--- */\nselect customer_id, 1 as orders, ordered_at as last_order_at from orders",
    );
    let second = project.build(30).await;
    assert!(matches!(outcome(&second, "features"), Outcome::Kept(_)));
    assert_eq!(*outcome(&second, "lapsed"), Outcome::Blocked("features".into()));
    assert_eq!(*outcome(&second, "orders"), Outcome::Built);
    assert_eq!(second.failures[0].exit, Exit::Failed, "other rows may pass");
    assert_eq!(second.stale["lapsed"].diagnosis.code, "audit", "the root of it is known for what rests on it");
    let times = project.ledger.published_as_of().await.unwrap();
    assert_eq!((times["lapsed"], times["orders"]), (at(0), at(30)));
    let failure = &second.failures[0].diagnosis;
    assert_eq!((failure.code.as_str(), failure.file.clone()), ("audit", Some(PathBuf::from("sql/models/features.sql"))));
    assert!(failure.message.contains("1 row breaks it: crm:a"), "{failure}");
    let published = project.ledger.published().await.unwrap();
    assert_eq!((published["features"], published["lapsed"]), (first.versions["features"], first.versions["lapsed"]));
    assert!(published["orders"] > first.versions["orders"]);
    assert_eq!(published, second.versions);
    let last = project.ledger.last_builds().await.unwrap();
    let told = |table: &str| (last[table].outcome.outcome.as_str(), last[table].outcome.because.as_deref());
    assert_eq!(told("features"), ("kept", Some("audit")), "the words, which name people, are not kept");
    assert_eq!((told("lapsed"), told("orders")), (("blocked", Some("features")), ("built", None)));
}

#[tokio::test]
async fn a_mistake_in_one_file_blocks_only_what_rests_on_it() {
    let project = Project::new().await;
    project.people().await;
    project.write(
        "models/features",
        "/* ---\nkey = 'customer_id'\n--- */\nselect customer_id,\n  max(order_at) as last_order_at from orders group by customer_id",
    );
    let built = project.build(0).await;
    assert_eq!(*outcome(&built, "lapsed"), Outcome::Blocked("features".into()));
    assert_eq!(*outcome(&built, "size"), Outcome::Built);
    assert_eq!(built.failures[0].exit, Exit::Wrong, "running again does not help");
    let failure = &built.failures[0].diagnosis;
    assert_eq!((failure.line, failure.file.clone()), (Some(5), Some(PathBuf::from("sql/models/features.sql"))), "{failure:?}");
    assert!(!built.versions.contains_key("lapsed"));
}

#[tokio::test]
async fn a_circle_or_a_file_without_a_text_blocks_only_what_rests_on_it() {
    let project = Project::new().await;
    project.people().await;
    project.write("models/round", "/* ---\nkey = 'a'\n--- */\nselect a from trip");
    project.write("models/trip", "/* ---\nkey = 'a'\n--- */\nselect a from round");
    project.write("metrics/journeys", "select count(*) as n from trip");
    project.write("models/latin", b"/* ---\nkey = 'a'\n--- */\nselect 'caf\xe9' as a");
    project.write("metrics/cafes", "select a from latin");
    let built = project.build(0).await;
    let circle = "these tables read each other in a circle: round → trip → round";
    assert_eq!(*outcome(&built, "round"), Outcome::Kept(circle.into()));
    assert_eq!(*outcome(&built, "trip"), Outcome::Blocked("round".into()));
    assert_eq!(*outcome(&built, "journeys"), Outcome::Blocked("trip".into()));
    assert!(matches!(outcome(&built, "latin"), Outcome::Kept(why) if why.contains("not in UTF-8")));
    assert_eq!(*outcome(&built, "cafes"), Outcome::Blocked("latin".into()));
    assert_eq!((outcome(&built, "lapsed"), outcome(&built, "size")), (&Outcome::Built, &Outcome::Built));
    let told: Vec<_> =
        built.failures.iter().map(|failure| (failure.diagnosis.code.as_str(), failure.diagnosis.line, failure.exit)).collect();
    assert_eq!(told, [("unreadable", Some(4), Exit::Wrong), ("cycle", Some(4), Exit::Wrong)]);
}

#[tokio::test]
async fn unchanged_inputs_mean_no_work() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    let again = project.build(0).await;
    assert!(again.tables.iter().all(|table| table.outcome == Outcome::Reused), "{:?}", again.tables);
    assert_eq!(first.versions, again.versions);
    let later = project.build(1).await;
    assert_eq!(*outcome(&later, "fx_rates"), Outcome::Reused, "no value of the run's time is bound");
    assert_eq!(*outcome(&later, "orders"), Outcome::Same, "the run's time is bound, and brings no other order");
    assert_eq!(later.versions["orders"], first.versions["orders"]);
    assert_eq!(*outcome(&later, "features"), Outcome::Reused);
    project.write("metrics/size", "select count(*) as people, 1 as one from customers");
    let edited = project.build(1).await;
    let built: Vec<&str> = edited.tables.iter().filter(|table| table.outcome == Outcome::Built).map(|table| table.name.as_str()).collect();
    assert_eq!(built, ["size"]);
}

#[tokio::test]
async fn what_is_made_anew_with_the_same_rows_is_the_end_of_the_work() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    // An order of somebody who is known: whoever is who was looked at, and nothing came of it.
    let order =
        json!({ "id": "o9", "customer_id": "1", "ordered_at": "2026-10-30T10:00:00Z", "status": "paid", "currency": "EUR", "total": 12 });
    project.give("shop__orders", json!([order])).await;
    let second = project.build(0).await;
    assert_eq!(*outcome(&second, "identities"), Outcome::Same);
    assert_eq!(second.versions["identities"], first.versions["identities"], "readers keep what they have");
    for table in ["customers", "consents", "sends", "fx_rates"] {
        assert_eq!(*outcome(&second, table), Outcome::Reused, "{table}");
    }
    for table in ["orders", "features", "size"] {
        assert_eq!(*outcome(&second, table), Outcome::Built, "{table}");
        assert!(second.versions[table] > first.versions[table]);
    }
    let third = project.build(0).await;
    assert!(third.tables.iter().all(|table| table.outcome == Outcome::Reused), "{:?}", third.tables);
    // A comment makes the file another one, and its rows the same.
    let path = project.folder.path().join("sql/models/features.sql");
    let sql = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, sql + "\n-- counted by order").unwrap();
    let fourth = project.build(0).await;
    assert_eq!((outcome(&fourth, "features"), outcome(&fourth, "lapsed")), (&Outcome::Same, &Outcome::Reused));
    assert_eq!(fourth.versions, third.versions);
}

#[tokio::test]
async fn more_people_than_memory_holds_are_told_with_what_they_need() {
    let mut project = Project::new().await;
    project.people().await;
    let settings = EngineSettings { memory_limit: "64MiB".into(), ..EngineSettings::default() };
    project.engine = Engine::new(project.folder.path(), &settings).unwrap();
    project.write(
        "staging/shop__customers",
        "select id || '-' || n as customer_id, repeat('x', 40) || n || email as email, created_at, updated_at\n\
         from (select c.*, a.n * 500 + b.n as n from shop__customers c, (select unnest(range(0, 500)) as n) a, (select unnest(range(0, 500)) as n) b)",
    );
    let built = project.build(0).await;
    assert!(matches!(outcome(&built, "identities"), Outcome::Kept(_)), "{:?}", built.tables);
    assert_eq!(*outcome(&built, "customers"), Outcome::Blocked("identities".into()));
    let Failure { exit, diagnosis } = &built.failures[0];
    assert_eq!((*exit, diagnosis.code.as_str()), (Exit::Failed, "memory"), "with more memory it works");
    assert_eq!(diagnosis.file, Some(PathBuf::from("sql/staging/shop__customers.sql")));
    // 750,002 records of 60 bytes and some 65 of text.
    let needed =
        diagnosis.message.strip_prefix("finding out who is who needs ").and_then(|rest| rest.split_once(" MiB of memory, more than "));
    let (needed, limit) = needed.unwrap_or_else(|| panic!("{}", diagnosis.message));
    assert!((80..110).contains(&needed.parse::<u32>().unwrap()) && limit == "the 64 MiB it may use", "{}", diagnosis.message);
    assert!(diagnosis.hint.as_ref().unwrap().contains("`[engine] memory_limit`"));
}

#[tokio::test]
async fn a_build_tells_what_each_table_took() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    let cost = |built: &Built, name: &str| built.tables.iter().find(|table| table.name == name).unwrap().cost;
    let features = cost(&first, "features");
    // The rows themselves, and those of its audits.
    assert!(features.rows_read >= first.tables.iter().find(|table| table.name == "orders").unwrap().rows, "{features:?}");
    assert!(features.bytes_read > 0 && features.peak_memory > 0, "{features:?}");
    assert_eq!((features.spilled, features.retries), (0, 0));
    let second = project.build(0).await;
    assert_eq!((cost(&second, "features").rows_read, cost(&second, "features").bytes_read), (0, 0), "no work");
}

#[tokio::test]
async fn a_replay_publishes_nothing_and_repeats_exactly() {
    let project = Project::new().await;
    project.people().await;
    let live = project.build(20).await;
    let published = project.ledger.published().await.unwrap();
    let mut replays = Vec::new();
    for name in ["one", "two"] {
        let scratch = project.lake.scratch(&project.folder.path().join(name)).unwrap();
        let replay = project.build_with(0, Some(&scratch), &[]).await;
        assert_eq!((replay.build.as_deref(), replay.failures.len()), (None, 0), "{:?}", replay.failures);
        let mut content = Vec::new();
        for (table, version) in &replay.versions {
            content.push((table.clone(), texts(&scratch.read(table, Some(*version)).await.unwrap())));
        }
        replays.push(content);
    }
    assert_eq!(replays[0], replays[1]);
    assert_eq!(project.ledger.published().await.unwrap(), published);
    assert_eq!(project.rows(&live, "lapsed").await.len(), 2);
    assert!(replays[0].iter().any(|(table, rows)| table == "lapsed" && rows[0].starts_with("crm:a")));
}

#[tokio::test]
async fn a_few_names_build_only_what_they_need() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build_with(0, None, &["size".to_owned()]).await;
    let names: Vec<&str> = built.tables.iter().map(|table| table.name.as_str()).collect();
    assert_eq!(names, ["fx_rates", "identities", "customers", "orders", "size"]);
    assert_eq!(project.ledger.contact_state_published().await.unwrap(), None);
    let unknown = ["siez".to_owned()];
    let request = BuildRequest {
        lake: &project.lake,
        scratch: None,
        engine: &project.engine,
        ledger: &project.ledger,
        brand: brand(),
        as_of: at(0),
        now: at(0),
        run: None,
        only: &unknown,
    };
    assert_eq!(build(&project.library(), request).await.unwrap_err().diagnosis().hint.as_deref(), Some("did you mean `size`?"));
}

#[tokio::test]
async fn everyones_state_is_that_of_now_and_not_of_the_slot() {
    let project = Project::new().await;
    project.people().await;
    let consents = json!([
        {"contact_id": "a", "channel": "email", "purpose": "marketing", "status": "granted", "at": "2026-01-01T00:00:00Z"},
        {"contact_id": "a", "channel": "email", "purpose": "marketing", "status": "denied", "at": "2026-11-01T02:00:00Z"},
        {"contact_id": "b", "channel": "email", "purpose": "marketing", "status": "granted", "at": "2026-01-01T00:00:00Z"},
        {"contact_id": "b", "channel": "email", "purpose": "marketing", "status": "denied", "at": "2026-01-01T00:00:00Z"},
        {"contact_id": "b", "channel": "email", "purpose": "service", "status": "granted", "at": "2026-01-01T00:00:00Z"},
    ]);
    project.give("crm__consents", consents).await;
    let library = project.library();
    let request = BuildRequest {
        lake: &project.lake,
        scratch: None,
        engine: &project.engine,
        ledger: &project.ledger,
        brand: brand(),
        as_of: at(0),
        now: at(30),
        run: Some("r1"),
        only: &[],
    };
    let built = build(&library, request).await.unwrap();
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    assert_eq!(project.rows(&built, "lapsed").await[0], "crm:a|ann@example.org|1", "the segment looks at the slot");
    let people =
        project.ledger.contact_state(&[CustomerId::new("crm:a"), CustomerId::new("shop:2"), CustomerId::new("shop:3")]).await.unwrap();
    let of = |id: &str| people.iter().find(|person| person.customer_id.as_str() == id).unwrap();
    assert_eq!(of("crm:a").marketing_email, "denied");
    assert_eq!(of("crm:a").last_order_at, Some("2026-11-20T10:00:00Z".parse().unwrap()));
    assert_eq!(of("crm:a").segments, ["lapsed"]);
    assert_eq!(of("crm:a").timezone, "Asia/Tokyo");
    assert_eq!((of("shop:2").marketing_email.as_str(), of("shop:2").service_email.as_str()), ("denied", "granted"));
    assert!(of("shop:3").deleted && !of("shop:2").deleted);
    assert_eq!(project.ledger.contact_state_published().await.unwrap(), Some((at(30), at(0))));
    // The CRM's Ann is the shop's first customer, and went by that name wherever the shop was known first.
    assert_eq!(
        crate::ledger::fixture::number(&project.ledger, "select count(*) from aliases where alias = 'shop:1' and customer_id = 'crm:a'")
            .await,
        1
    );
    assert_eq!(
        crate::ledger::fixture::number(&project.ledger, "select count(*) from aliases where alias = 'crm:b' and customer_id = 'shop:2'")
            .await,
        1
    );
    assert_eq!(crate::ledger::fixture::number(&project.ledger, "select count(*) from builds where run = 'r1'").await, 1);
}

#[tokio::test]
async fn staging_with_an_unknown_column_or_table_is_told_by_its_file() {
    let project = Project::new().await;
    project.write("staging/shop__orders", "select id as order_id,\n  total as totl from shop__orders");
    project.write("staging/shop__products", "select id as product_id from shop__product");
    let built = project.build(0).await;
    let told = built.failures.iter().map(|failure| failure.diagnosis.as_ref());
    let told: Vec<_> = told.map(|failure| (failure.code.as_str(), failure.file.clone().unwrap(), failure.line)).collect();
    assert!(told.contains(&("unknown_column", PathBuf::from("sql/staging/shop__orders.sql"), Some(2))), "{told:?}");
    assert!(told.contains(&("unknown_table", PathBuf::from("sql/staging/shop__products.sql"), Some(1))), "{told:?}");
}

#[tokio::test]
async fn each_audit_is_kept() {
    let project = Project::new().await;
    project.people().await;
    for (audit, holds) in [
        ("unique(first_name)", true),
        ("unique(locale)", false),
        ("unique(first_name, currency)", true),
        ("unique(locale, currency)", false),
        ("unique(line, currency)", false),
        ("not_null(customer_id, locale)", true),
        ("not_null(phone)", false),
        ("accepted(locale, 'en-GB', 'fr-FR')", true),
        ("accepted(timezone, 'Asia/Tokyo')", false),
        ("relationship(customer_id, identities.customer_id)", true),
        ("relationship(first_name, orders.customer_id)", false),
        ("rows(1, 10)", true),
        ("rows(5, 10)", false),
        ("change(10%)", true),
        ("select identities.customer_id from identities left anti join audited on audited.customer_id = identities.customer_id", true),
        ("select customer_id from audited where created_at > $as_of", true),
        ("select customer_id from audited where phone is null", false),
    ] {
        let sql =
            format!("/* ---\nkey = 'customer_id'\naudits = [\"{audit}\"]\n--- */\nselect *, 'EUR' as currency, 1 as line from customers");
        project.write("models/audited", &sql);
        let built = project.build_with(0, None, &["audited".to_owned()]).await;
        assert_eq!(built.failures.is_empty(), holds, "{audit}: {:?}", built.failures);
        if let Some(failure) = built.failures.first() {
            assert_eq!((failure.diagnosis.code.as_str(), failure.diagnosis.line), ("audit", Some(3)), "{audit}");
        }
    }
}

#[tokio::test]
async fn figures_of_several_kinds_stand_in_one_table() {
    let project = Project::new().await;
    project.people().await;
    let sql = "/* ---\nkey = ['name', 'part', 'unit', 'day']\n--- */\n\
        select 'people' as name, locale as part, 'a' as unit, date '2026-01-01' as day, count(*) as n from customers group by locale\n\
        union all select 'orders' as name, 'all' as part, status as unit, cast(ordered_at as date) as day, count(*) as n\n\
        from orders group by status, cast(ordered_at as date)\n\
        union all select customer_id as name, 'one' as part, 'b' as unit, date '2026-01-02' as day, 1 as n from customers";
    project.write("metrics/size", sql);
    let built = project.build(0).await;
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    let rows = project.lake.read("size", Some(built.versions["size"])).await.unwrap();
    let ordered: Vec<String> = rows
        .iter()
        .flat_map(|batch| {
            let column = |name: &str, row: usize| array_value_to_string(batch.column_by_name(name).unwrap(), row).unwrap();
            (0..batch.num_rows())
                .map(|row| format!("{} {} {} {}", column("name", row), column("part", row), column("unit", row), column("day", row)))
                .collect::<Vec<_>>()
        })
        .collect();
    assert_eq!(ordered.len(), 7);
    assert!(ordered.is_sorted(), "{ordered:?}");
}

#[tokio::test]
async fn a_large_change_is_refused_and_a_small_one_is_not() {
    let project = Project::new().await;
    let people = |from: usize, to: usize| {
        let person = |id: usize| json!({"id": id.to_string(), "email": format!("p{id}@example.org"), "created_at": "2026-01-01T00:00:00Z"});
        Value::Array((from..to).map(person).collect())
    };
    project.write("models/everyone", "/* ---\nkey = 'customer_id'\naudits = ['change(40%)']\n--- */\nselect customer_id from customers");
    project.give("shop__customers", people(0, 100)).await;
    assert!(project.build(0).await.failures.is_empty());
    project.give("shop__customers", people(100, 130)).await;
    assert!(project.build(1).await.failures.is_empty());
    project.give("shop__customers", people(130, 200)).await;
    let refused = project.build(2).await;
    assert!(refused.failures[0].diagnosis.message.contains("it has 200 rows, the published one 130"), "{:?}", refused.failures);
}

#[tokio::test]
async fn a_change_of_few_rows_is_quiet_only_where_the_audit_says_so() {
    for (audit, holds) in [("change(40%)", false), ("change(40%, 9)", false), ("change(40%, 10)", true)] {
        let project = Project::new().await;
        let people = |from: usize, to: usize| {
            let person = |id: usize| json!({"id": id.to_string(), "created_at": "2026-01-01T00:00:00Z"});
            Value::Array((from..to).map(person).collect())
        };
        let sql = format!("/* ---\nkey = 'customer_id'\naudits = ['{audit}']\n--- */\nselect customer_id from customers");
        project.write("models/everyone", &sql);
        project.give("shop__customers", people(0, 10)).await;
        assert!(project.build(0).await.failures.is_empty());
        project.give("shop__customers", people(10, 20)).await;
        assert_eq!(project.build(1).await.failures.is_empty(), holds, "{audit}");
    }
}

#[tokio::test]
async fn a_failed_audit_of_staging_keeps_yesterdays_table_and_blocks_what_rests_on_it() {
    let project = Project::new().await;
    project.people().await;
    let sql = "select id as order_id, customer_id, ordered_at, status, currency, total from shop__orders where ordered_at <= $as_of";
    for (audit, failure) in [
        ("audits = ['not_null(customer_id, status)', 'rows(1, 3)', 'accepted(currency, \"EUR\", \"USD\")']", None),
        ("audits = ['accepted(currency, \"EUR\")']", Some("accepted(currency, \"EUR\")")),
        ("audits = ['rows(4, 9)']", Some("it has 3 rows")),
        ("audits = ['not_null(customer_id)', 'unique(ordered_at)']", Some("unique(ordered_at)")),
        ("audits = ['relationship(customer_id, shop__customers.id)']", Some("1 row breaks it: 9")),
        ("audits = ['select order_id from shop__orders where total > 10']", Some("1 row breaks it: o1")),
        ("key = 'status'", Some("the key must be unique")),
    ] {
        let key = if audit.starts_with("key") { "" } else { "key = 'order_id'\n" };
        project.write("staging/shop__orders", format!("/* ---\n{key}{audit}\n--- */\n{sql}"));
        let before = project.ledger.published().await.unwrap();
        let built = project.build(0).await;
        let Some(failure) = failure else {
            assert!(built.failures.is_empty(), "{audit}: {:?}", built.failures);
            continue;
        };
        assert!(matches!(outcome(&built, "orders"), Outcome::Kept(why) if why.contains(failure)), "{audit}: {:?}", built.failures);
        assert_eq!(*outcome(&built, "features"), Outcome::Blocked("orders".into()), "{audit}");
        assert_eq!(built.versions["orders"], before["orders"], "{audit}");
        assert_eq!((built.failures.len(), built.failures[0].diagnosis.code.as_str()), (1, "audit"), "{audit}: {:?}", built.failures);
        assert_eq!(built.failures[0].diagnosis.file.as_deref(), Some(std::path::Path::new("sql/staging/shop__orders.sql")), "{audit}");
    }
}

#[tokio::test]
async fn a_failed_audit_of_a_list_of_customers_leaves_everybody_who_they_were() {
    let project = Project::new().await;
    project.people().await;
    let first = project.build(0).await;
    let sql = "select id as customer_id, email, first_name, created_at, updated_at, deleted_at from shop__customers";
    project.write("staging/shop__customers", format!("/* ---\nkey = 'customer_id'\naudits = ['not_null(first_name)']\n--- */\n{sql}"));
    let second = project.build(0).await;
    assert!(matches!(outcome(&second, "identities"), Outcome::Kept(why) if why.contains("1 row breaks it: 2")), "{:?}", second.failures);
    assert_eq!(*outcome(&second, "customers"), Outcome::Blocked("identities".into()));
    assert_eq!(second.versions, first.versions);
}

#[tokio::test]
async fn an_audit_that_binds_the_runs_time_is_run_again_when_that_moves() {
    let project = Project::new().await;
    project.people().await;
    let sql = "/* ---\nkey = 'customer_id'\naudits = [\"select customer_id from listed where created_at < $as_of - interval '310 days'\"]\n--- */\n\
               select customer_id, created_at from customers where first_name = 'Bob'";
    project.write("models/listed", sql);
    assert!(project.build(0).await.failures.is_empty());
    let later = project.build(10).await;
    assert!(matches!(outcome(&later, "listed"), Outcome::Kept(_)), "{:?}", later.tables);
}

#[tokio::test]
async fn what_happens_after_the_runs_time_is_left_out_whatever_staging_says() {
    let project = Project::new().await;
    project.people().await;
    project.write("staging/shop__orders", "select id as order_id, customer_id, ordered_at, status, currency, total from shop__orders");
    project.write(
        "staging/shop__order_items",
        "select id as order_id, 1 as line, 'p' as product_id, 1 as quantity, total as unit_price, currency, ordered_at from shop__orders",
    );
    project.write("staging/shop__tickets", "select id as ticket_id, customer_id, ordered_at as opened_at from shop__orders");
    project.write("staging/shop__feedback", "select customer_id, ordered_at as given_at, id as comment from shop__orders");
    project.write("staging/crm__consents", "select contact_id as customer_id, channel, purpose, status, at from crm__consents");
    let consents = json!([
        {"contact_id": "a", "channel": "email", "purpose": "marketing", "status": "granted", "at": "2026-01-01T00:00:00Z"},
        {"contact_id": "a", "channel": "email", "purpose": "marketing", "status": "denied", "at": "2026-11-20T10:00:00Z"},
    ]);
    project.give("crm__consents", consents).await;
    // An order still to come in a currency without a rate stops nothing yet.
    let order = json!([{"id": "o9", "customer_id": "2", "ordered_at": "2026-11-25T10:00:00Z", "status": "paid", "currency": "JPY", "total": "900"}]);
    project.give("shop__orders", order).await;
    for (day, orders, answers) in [(0, 3, 1), (20, 4, 2)] {
        let built = project.build(day).await;
        assert!(built.failures.is_empty(), "{:?}", built.failures);
        for table in ["orders", "order_items", "tickets", "feedback"] {
            assert_eq!(project.rows(&built, table).await.len(), orders, "{table} on day {day}");
        }
        assert_eq!(project.rows(&built, "consents").await.len(), answers, "day {day}");
    }
}

#[tokio::test]
async fn of_answers_in_one_instant_any_that_forbids_wins_in_whatever_words() {
    let project = Project::new().await;
    project.people().await;
    let answer = |person: &str, status: &str, at: Option<&str>| json!({"contact_id": person, "channel": "Email", "purpose": "marketing", "status": status, "at": at});
    let (noon, later) = (Some("2026-01-01T12:00:00Z"), Some("2026-01-02T12:00:00Z"));
    let answers = vec![
        answer("a", "granted", noon),
        answer("a", "Withdrawn", noon),
        answer("a", "unknown", noon),
        answer("a", "GRANTED", later),
        answer("a", "", later),
        answer("b", "granted", noon),
        answer("b", "unsubscribed", None),
        json!({"contact_id": null, "channel": "email", "purpose": "marketing", "status": "denied", "at": noon}),
        json!({"contact_id": "b", "channel": null, "purpose": "marketing", "status": "denied", "at": noon}),
    ];
    project.write("staging/crm__consents", "select contact_id as customer_id, channel, purpose, status, at from crm__consents");
    project.give("crm__consents", Value::Array(answers)).await;
    let built = project.build(0).await;
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    assert_eq!(
        project.rows(&built, "consents").await,
        [
            "crm:a|email|marketing|granted|2026-01-02T12:00:00Z",
            "crm:a|email|marketing|withdrawn|2026-01-01T12:00:00Z",
            "shop:2|email|marketing|granted|2026-01-01T12:00:00Z",
            "shop:2|email|marketing|unsubscribed|1970-01-01T00:00:00Z",
        ]
    );
    let people = project.ledger.contact_state(&[CustomerId::new("crm:a"), CustomerId::new("shop:2")]).await.unwrap();
    let of = |id: &str| people.iter().find(|person| person.customer_id.as_str() == id).unwrap().marketing_email.clone();
    assert_eq!((of("crm:a"), of("shop:2")), ("granted".to_owned(), "granted".to_owned()));
}

#[tokio::test]
async fn an_id_that_two_files_give_names_both() {
    let project = Project::new().await;
    project.people().await;
    project.lake.ensure("us__orders", raw_schema("us__orders")).await.unwrap();
    let order =
        json!([{"id": "o1", "customer_id": "7", "ordered_at": "2026-09-03T10:00:00Z", "status": "paid", "currency": "EUR", "total": "2"}]);
    project.give("us__orders", order).await;
    project.write(
        "staging/us__orders",
        "/* ---\nkey = 'order_id'\n--- */\nselect id as order_id, customer_id, ordered_at, status, currency, total from us__orders",
    );
    let built = project.build(0).await;
    let failure = &built.failures[0];
    for words in ["order_id o1", "sql/staging/shop__orders.sql", "sql/staging/us__orders.sql"] {
        assert!(failure.diagnosis.message.contains(words), "{failure}");
    }
    assert!(failure.diagnosis.hint.as_deref().unwrap().contains("`'shop-' || id as order_id`"), "{failure:?}");
    assert!(!built.versions.contains_key("orders"));
}

#[tokio::test]
async fn an_amount_without_a_rate_is_found_in_every_column_of_money() {
    let project = Project::new().await;
    project.people().await;
    project.write(
        "staging/shop__orders",
        "select id as order_id, customer_id, ordered_at, status, 'CHF' as currency, total as total_base, total as discount\n\
         from shop__orders where ordered_at <= $as_of",
    );
    let built = project.build(0).await;
    assert!(matches!(outcome(&built, "orders"), Outcome::Kept(why) if why.contains("CHF (3 rows")), "{:?}", built.failures);
}

#[tokio::test]
async fn a_query_about_people_that_breaks_off_repeats_no_address() {
    let project = Project::new().await;
    project.people().await;
    let sql = "select cast(cast(email as bigint) as varchar) as customer_id, email from shop__customers";
    project.write("staging/shop__customers", sql);
    let built = project.build(0).await;
    let failure = &built.failures[0];
    assert_eq!(
        (failure.diagnosis.code.as_str(), failure.diagnosis.file.clone()),
        ("sql_failed", Some(PathBuf::from("sql/staging/shop__customers.sql")))
    );
    assert!(
        !failure.diagnosis.message.contains("example.org") && failure.diagnosis.hint.as_deref().unwrap().contains("try_cast"),
        "{failure:?}"
    );
}

#[tokio::test]
async fn the_ledgers_rows_follow_merged_people_and_stop_at_the_runs_time() {
    let project = Project::new().await;
    project.people().await;
    let path = project.folder.path().join(LedgerSettings::default().path);
    let ledger = sqlx::SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    for (message, customer, day) in [("m1", "shop:1", -3), ("m2", "gone:7", -2), ("m3", "shop:2", 1)] {
        sqlx::query(
            "insert into messages (message_id, plan, campaign, kind, channel, customer_id, occasion, step, state, at) \
             values (?, 'p', 'win-back', 'marketing', 'email', ?, 'o1', 1, 'accepted', ?)",
        )
        .bind(message)
        .bind(customer)
        .bind(at(day).timestamp_micros())
        .execute(&ledger)
        .await
        .unwrap();
    }
    project.write("metrics/size", "select message_id, customer_id from sends");
    let built = project.build(0).await;
    assert!(built.failures.is_empty(), "{:?}", built.failures);
    assert_eq!(project.rows(&built, "size").await, ["m1|crm:a", "m2|gone:7"]);
    assert_eq!(project.rows(&project.build(2).await, "size").await.len(), 3);
}

#[tokio::test]
async fn check_finds_what_a_build_would_and_names_columns_without_data() {
    let project = Project::new().await;
    let raw: BTreeMap<String, SchemaRef> = RAW.iter().map(|table| ((*table).to_owned(), raw_schema(table))).collect();
    let library = project.library();
    assert_eq!(library.plan(&project.engine, &raw).await.findings, []);
    let columns = library.schema_of(&project.engine, &raw, "lapsed").await.unwrap();
    assert_eq!(columns.fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["customer_id", "email", "orders"]);

    project.write("segments/broken", "/* ---\nkey = 'email'\nparams = { unused = 1 }\n--- */\nselect emial as email from customers");
    project.write("segments/nobody", "/* ---\nkey = 'email'\n--- */\nselect email from customers");
    project.write("models/keyless", "select 1 as one, $qiet as q from raw_orders");
    project.write("models/round", "/* ---\nkey = 'a'\n--- */\nselect a from trip");
    project.write("models/trip", "/* ---\nkey = 'a'\n--- */\nselect a from round");
    project.write("metrics/latin", b"-- caf\xe9\nselect 1 as a");
    project.write("metrics/of_latin", "select a from latin");
    project.write("staging/shop__ordres", "select 1 as a");
    project.write("staging/shop__products", "/* ---\naudits = ['select product_id from shop__products where nmae is null']\n--- */\nselect id as product_id from shop__customers");
    project.write("staging/shop__tickets", "/* ---\nkey = 'ticket'\n--- */\nselect id as ticket_id from shop__customers");
    project.write("staging/crm__tickets", "/* ---\naudits = ['relationship(customer_id, crm__contact.id)']\n--- */\nselect id as ticket_id, id as customer_id from crm__contacts");
    project.write(
        "metrics/few",
        "/* ---\nkey = ['name', 'part']\n--- */\nselect locale as name, country as part from customers order by country, 3 - 2 limit 5",
    );
    project.write(
        "metrics/whole",
        "/* ---\nkey = ['name', 'part']\n--- */\nselect locale as name, country as part from customers order by 2, locale limit 5",
    );
    let findings = project.library().plan(&project.engine, &raw).await.findings;
    let codes: Vec<(String, &str)> = findings
        .iter()
        .map(|finding| {
            let stem = finding.diagnosis.file.as_ref().and_then(|file| file.file_stem()).unwrap_or_default();
            (stem.to_string_lossy().into_owned(), finding.diagnosis.code.as_str())
        })
        .collect();
    for expected in [
        ("broken", "unused_parameter"),
        ("broken", "sql_unknown_column"),
        ("nobody", "missing_column"),
        ("keyless", "missing_key"),
        ("keyless", "unknown_parameter"),
        ("keyless", "unknown_table"),
        ("round", "cycle"),
        ("trip", "cycle"),
        ("latin", "unreadable"),
        ("shop__ordres", "file_name"),
        ("shop__products", "sql_unknown_column"),
        ("shop__tickets", "unknown_column"),
        ("crm__tickets", "unknown_table"),
        ("few", "sql_unordered_limit"),
    ] {
        assert!(codes.iter().any(|(file, code)| (file.as_str(), *code) == expected), "{expected:?} in {codes:#?}");
    }
    assert!(codes.iter().all(|(file, _)| file != "whole" && file != "of_latin"), "{codes:#?}");
}

#[test]
fn the_types_of_a_total_are_those_of_the_contract() {
    let total = canonical("orders").unwrap().schema;
    let zero = RecordBatch::new_empty(total);
    assert_eq!(zero.column_by_name("total_base").unwrap().as_primitive::<Decimal128Type>().scale(), 4);
}
