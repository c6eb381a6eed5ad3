//! Cases run over a library on disk.

use super::*;
use crate::model::fixture::{Project, RAW, raw_schema};

#[tokio::test]
async fn sql_tests_tell_what_is_missing_and_what_is_too_much() {
    let project = Project::new().await;
    let tests = r#"
test = "lapsed"
as_of = "2026-11-22T01:00:00Z"

[[case]]
name = "passes"
given.customers = [ { customer_id = "c1", email = "ann@example.org" }, { customer_id = "c2" } ]
given.orders = '''
order_id, customer_id, ordered_at, total_base
o1,       c1,          2026-01-05, 25.50
o2,       c2,          2026-11-20, 1
'''
expect = [ { customer_id = "c1", email = "ann@example.org", orders = 1 } ]

[[case]]
name = "a model that is given is not computed"
given.customers = [ { customer_id = "c1" } ]
given.features = [ { customer_id = "c1", orders = 7, last_order_at = "2026-01-01" } ]
expect = [ { orders = 7 } ]
partial = true

[[case]]
name = "fails"
params = { quiet = 1 }
given.customers = [ { customer_id = "c2" } ]
given.features = [ { customer_id = "c2", orders = 1, last_order_at = "2026-11-20" } ]
expect = [ { customer_id = "c2", email = {}, orders = 2 } ]

[[case]]
name = "is not whole"
expect = [ { customer_id = "c2" } ]

[[case]]
name = "names a table it does not read"
given.tickets = []
expect = []
"#;
    std::fs::create_dir_all(project.folder.path().join("sql/tests")).unwrap();
    std::fs::write(project.folder.path().join("sql/tests/lapsed.toml"), tests).unwrap();
    let staging = "test = 'shop__orders'\nas_of = 2026-11-22T01:00:00Z\n[[case]]\nname = 'later orders are left out'\n\
                   given.shop__orders = \"id, ordered_at\\na, 2026-11-21\\nb, 2026-11-23\"\nexpect = [{ order_id = 'a' }]\npartial = true\n";
    std::fs::write(project.folder.path().join("sql/tests/staging.toml"), staging).unwrap();
    let raw: BTreeMap<String, SchemaRef> = RAW.iter().map(|table| ((*table).to_owned(), raw_schema(table))).collect();
    let report = run_tests(&project.library(), &project.engine, &raw, None).await;
    let outcomes: Vec<&CaseOutcome> = report.cases.iter().map(|case| &case.outcome).collect();
    use CaseOutcome::{Broken, Failed, Passed};
    assert!(matches!(outcomes[0], Passed), "{outcomes:#?}");
    assert!(matches!(outcomes[1], Passed), "{outcomes:#?}");
    assert!(matches!(outcomes[2], Failed(lines) if *lines == ["~ \"c2\": orders: expected 2, found 1"]), "{outcomes:#?}");
    assert!(matches!(outcomes[3], Broken(told) if told.message.contains("email, orders") && told.line == Some(29)), "{outcomes:#?}");
    assert!(matches!(outcomes[4], Broken(told) if told.message.contains("`tickets`")), "{outcomes:#?}");
    assert!(matches!(outcomes[5], Passed), "{outcomes:#?}");
    assert!(!report.ok() && report.passed() == 3);
    let some = run_tests(&project.library(), &project.engine, &raw, Some("passes")).await;
    assert!(some.ok() && some.cases.len() == 1);
}
