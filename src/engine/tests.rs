use std::collections::BTreeSet;

use arrow::{
    array::{
        Array, ArrayRef, AsArray, Date32Array, Decimal128Array, Int64Array, RecordBatch, StringArray, StringViewArray,
        TimestampMicrosecondArray,
    },
    datatypes::{DataType, Decimal128Type, Field, Int64Type, Schema},
    util::pretty::pretty_format_batches,
};
use chrono::{DateTime, NaiveDate};
use datafusion::{datasource::MemTable, scalar::ScalarValue};
use futures::TryStreamExt;

use super::*;
use crate::{
    diagnosis::{Diagnose, Exit, Severity},
    lake::{Commit, Lake, LakeSettings},
};

const NOWHERE: Origin<'static> = Origin::NOWHERE;

fn micros(text: &str) -> i64 {
    DateTime::parse_from_rfc3339(text).unwrap().timestamp_micros()
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn orders() -> RecordBatch {
    let at = ["2026-01-01T00:30:00Z", "2026-01-01T23:30:00Z", "2026-01-11T10:00:00Z", "2026-02-01T10:00:00Z", "2026-02-01T10:00:00Z"];
    batch(vec![
        ("order_id", Arc::new(StringArray::from(vec!["1", "2", "3", "4", "5"]))),
        ("customer_id", Arc::new(StringArray::from(vec![Some("a"), Some("a"), Some("a"), Some("a"), Some("b")]))),
        ("ordered_at", Arc::new(TimestampMicrosecondArray::from(at.map(micros).to_vec()).with_timezone("UTC"))),
        ("total", Arc::new(Decimal128Array::from(vec![10, 20, 30, 40, 50]).with_precision_and_scale(18, 4).unwrap())),
        ("tier", Arc::new(StringViewArray::from(vec![Some("gold"), None, Some("gold"), None, None]))),
    ])
}

fn table(rows: RecordBatch, partitions: usize) -> Arc<dyn TableProvider> {
    let parts = (0..partitions).map(|part| {
        let (each, rest) = (rows.num_rows() / partitions, rows.num_rows() % partitions);
        vec![rows.slice(part * each + part.min(rest), each + usize::from(part < rest))]
    });
    Arc::new(MemTable::try_new(rows.schema(), parts.collect()).unwrap())
}

fn engine(settings: EngineSettings) -> (tempfile::TempDir, Engine) {
    let root = tempfile::tempdir().unwrap();
    let engine = Engine::new(root.path(), &settings).unwrap();
    (root, engine)
}

fn session() -> (tempfile::TempDir, Session) {
    let (root, engine) = engine(EngineSettings::default());
    let tables = BTreeMap::from([("orders".to_owned(), table(orders(), 1)), ("customers".to_owned(), table(orders(), 1))]);
    let session = engine.session(tables).unwrap();
    (root, session)
}

fn query<'a>(sql: &'a str, params: &[(&str, ScalarValue)]) -> Query<'a> {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect();
    Query { sql, origin: NOWHERE, params }
}

fn as_of(text: &str) -> (&'static str, ScalarValue) {
    ("as_of", ScalarValue::TimestampMicrosecond(Some(micros(text)), Some("UTC".into())))
}

async fn rows(sql: &str, params: &[(&str, ScalarValue)]) -> RecordBatch {
    let (_root, session) = session();
    let batches = session.collect(&query(sql, params)).await.unwrap();
    arrow::compute::concat_batches(batches[0].schema_ref(), &batches).unwrap()
}

async fn integers(sql: &str, params: &[(&str, ScalarValue)]) -> Vec<Option<i64>> {
    rows(sql, params).await.column(0).as_primitive::<Int64Type>().iter().collect()
}

/// Code, line, column and hint of what a query is refused with.
async fn refusal(sql: &str) -> (String, Option<(usize, usize)>, String, Exit) {
    let (_root, session) = session();
    let file = Path::new("sql/segments/lapsed.sql");
    let query = Query {
        sql,
        origin: Origin { line: 11, ..Origin::of(file) },
        params: BTreeMap::from([as_of("2026-03-01T00:00:00Z")].map(|(k, v)| (k.to_owned(), v))),
    };
    let error = session.collect(&query).await.unwrap_err();
    let diagnosis = error.diagnosis();
    assert_eq!(diagnosis.file.as_deref(), Some(file), "{diagnosis:?}");
    let place = diagnosis.line.zip(diagnosis.column);
    (format!("{}: {}", diagnosis.code, diagnosis.message), place, diagnosis.hint.unwrap_or_default(), error.exit())
}

#[test]
fn a_select_tells_its_tables_and_parameters() {
    let sql = "with recent as (select * from orders where ordered_at > $as_of - interval '90 days'), \
               two as (select 1 as x from recent join \"customers\" c on true) \
               select * from two, generate_series(1, $n) where x in (select y from Other) and exists (select 1 from recent)";
    let parsed = parse_select(sql, NOWHERE).unwrap();
    assert_eq!(parsed.tables, BTreeSet::from(["customers", "orders", "other"].map(str::to_owned)));
    assert_eq!(parsed.params, BTreeSet::from(["as_of", "n"].map(str::to_owned)));
    assert_eq!(parsed.findings, vec![]);
    assert!(parse_select("-- a comment\nselect 1 -- and another\n;\n", NOWHERE).unwrap().tables.is_empty());
}

#[test]
fn everything_but_one_select_is_refused_with_its_place() {
    for (sql, code, place) in [
        ("", "sql_empty", None),
        ("-- nothing\n", "sql_empty", None),
        ("insert into orders select * from orders", "sql_not_select", Some((1, 1))),
        ("\n  delete from orders", "sql_not_select", Some((2, 3))),
        ("update orders set total = 0", "sql_not_select", Some((1, 1))),
        ("create table x as select 1", "sql_not_select", Some((1, 1))),
        ("create external table x stored as csv location '/etc/passwd'", "sql_not_select", Some((1, 1))),
        ("drop table orders", "sql_not_select", Some((1, 1))),
        ("copy orders to '/tmp/x.csv'", "sql_not_select", Some((1, 1))),
        ("set datafusion.execution.batch_size = 1", "sql_not_select", Some((1, 1))),
        ("explain select 1", "sql_not_select", Some((1, 1))),
        ("show tables", "sql_not_select", Some((1, 1))),
        ("prepare p as select 1", "sql_not_select", Some((1, 1))),
        ("select 1;\nselect 2", "sql_statements", Some((2, 1))),
        ("select 1; drop table orders", "sql_statements", Some((1, 11))),
        ("select * into x from orders", "sql_not_select", Some((1, 15))),
        ("with x as (insert into orders values (1)) select 1", "sql_not_select", None),
        ("select * from public.orders", "sql_qualified_table", Some((1, 15))),
        ("select * from information_schema.tables", "sql_qualified_table", Some((1, 15))),
        ("select\n  now()", "sql_not_repeatable", Some((2, 3))),
        ("select 1 where x < current_date", "sql_not_repeatable", Some((1, 20))),
        ("select current_timestamp", "sql_not_repeatable", Some((1, 8))),
        ("select current_time", "sql_not_repeatable", Some((1, 8))),
        ("select today()", "sql_not_repeatable", Some((1, 8))),
        ("select * from orders order by random()", "sql_not_repeatable", Some((1, 31))),
        ("select \"NOW\"(), uuid()", "sql_not_repeatable", Some((1, 8))),
        ("select rand()", "sql_not_repeatable", Some((1, 8))),
        ("select order_id, input_file_name() from orders", "sql_not_repeatable", Some((1, 18))),
        ("select file_row_index() from orders", "sql_not_repeatable", Some((1, 8))),
        ("select * from orders tablesample (10 percent)", "sql_not_repeatable", Some((1, 22))),
        ("select * from (select 1) as t tablesample bernoulli (10)", "sql_not_repeatable", Some((1, 31))),
        ("select 1 from orders settings max_threads = 1", "sql_unsupported", Some((1, 22))),
        ("select total from orders format csv", "sql_unsupported", Some((1, 26))),
        ("select total from orders for xml raw", "sql_unsupported", Some((1, 26))),
        ("select total from orders with (nolock)", "sql_unsupported", Some((1, 19))),
        ("select total from (select * from orders settings x = 1)", "sql_unsupported", None),
        ("select total from orders prewhere total > 1", "sql_unsupported", Some((1, 26))),
        ("select total is distinct from 1 and true from orders", "sql_brackets", Some((1, 31))),
        ("select 1 from orders where total is not distinct from 1 or tier = 'x'", "sql_brackets", Some((1, 55))),
        ("select count(*) from orders group by tier with rollup", "sql_unsupported", Some((1, 43))),
        ("select approx_median(total) from orders", "sql_not_repeatable", Some((1, 8))),
        ("select version()", "sql_not_repeatable", Some((1, 8))),
        ("select repeat('x', 1000000000)", "sql_too_large", Some((1, 8))),
        ("select range(0, 1e9)", "sql_too_large", Some((1, 8))),
        ("select 1 where\n tier = null", "sql_null", Some((2, 9))),
        ("select 'a\u{202e}b'", "sql_unseen", Some((1, 10))),
        ("select 1 as a,\n\u{200b}2 as b", "sql_unseen", Some((2, 1))),
        ("select * from orders join customers", "sql_join", Some((1, 27))),
        ("select * from orders o\nleft join customers c where o.total = c.total", "sql_join", Some((2, 11))),
        ("select 1 from orders where tier not in ('x', null)", "sql_null", Some((1, 28))),
        ("select sum(total) over (w rows 1 preceding) from orders window w as (order by order_id)", "sql_unsupported", Some((1, 25))),
        ("select sum(total) over v from orders window w as (order by order_id), v as w", "sql_unsupported", Some((1, 76))),
        ("select * from generate_series(1, 3) with ordinality", "sql_unsupported", Some((1, 15))),
        ("select $1", "sql_parameter", Some((1, 8))),
        ("select ?", "sql_parameter", Some((1, 8))),
        ("select form orders where\n  x = ", "sql_syntax", Some((2, 6))),
        ("select 1 from a b ' at Line: 99, Column: 99'", "sql_syntax", Some((1, 19))),
        ("select 'no end", "sql_syntax", Some((1, 8))),
        ("select a b c from orders", "sql_syntax", Some((1, 12))),
    ] {
        let error = parse_select(sql, NOWHERE).expect_err(sql);
        let diagnosis = error.diagnosis();
        assert_eq!(diagnosis.code, code, "{sql}: {diagnosis:?}");
        assert!(diagnosis.hint.is_some(), "{sql}: {diagnosis:?}");
        assert_eq!(error.exit(), Exit::Wrong);
        if place.is_some() {
            assert_eq!(diagnosis.line.zip(diagnosis.column), place, "{sql}: {diagnosis:?}");
        }
    }
    let hint = parse_select("select now()", NOWHERE).unwrap_err().diagnosis().hint;
    assert_eq!(hint.as_deref(), Some("use $as_of"));
}

#[tokio::test]
async fn a_part_of_a_query_is_its_with_clause() {
    let sql =
        "with\n\na as (select 'ä)' as x, 1 as n),\n\n\"B\" as (select n + 1 as n from a) -- ( \n\nselect n from \"B\" order by n limit 1";
    assert_eq!(integers(&part_of(sql, "b", NOWHERE).unwrap(), &[]).await, [Some(2)]);
    let part = part_of(sql, "a", NOWHERE).unwrap();
    assert_eq!(rows(&part, &[]).await.num_columns(), 2);
    assert!(sql.starts_with(part.trim_end_matches("\nselect * from a")), "{part}");
    let error = part_of(sql, "aa", NOWHERE).unwrap_err().diagnosis();
    assert_eq!((error.code.as_str(), error.hint.as_deref()), ("unknown_part", Some("did you mean `a`?")));
    assert_eq!(part_of("select 1", "c", NOWHERE).unwrap_err().diagnosis().hint.as_deref(), Some("it has no `with` clauses at all"));
}

#[tokio::test]
async fn sums_of_doubles_are_found_with_their_place_and_exact_ones_are_not() {
    let columns = [("a", DataType::Int64), ("d", DataType::Decimal128(18, 4)), ("x", DataType::Float64), ("k", DataType::Utf8)];
    let columns = Schema::new(columns.map(|(name, kind)| Field::new(name, kind, true)).to_vec());
    let (_root, engine) = engine(EngineSettings::default());
    let session = engine.session(BTreeMap::from([("t".to_owned(), table(RecordBatch::new_empty(Arc::new(columns)), 1))])).unwrap();
    for (sql, expected) in [
        ("select k,\n sum(x) as s from t group by k", &[(2, 6)][..]),
        ("select sum(d * 0.5) from t", &[(1, 12)]),
        ("select avg(distinct x) from t", &[(1, 21)]),
        ("select sum(x) over (partition by k) from t", &[(1, 12)]),
        ("select (select max(s) from (select sum(x) as s from t group by k) q) from t", &[(1, 40)]),
        ("with c as (select k, sum(x) as s from t group by k) select * from c join c o on c.k = o.k", &[(1, 26)]),
        ("select sum(x) over (partition by k order by a) from t", &[]),
        ("select sum(a), avg(a), sum(d), avg(d), max(x), sum(cast(x as decimal(18, 4))), count(x) from t", &[]),
    ] {
        let (_, findings) = session.prove(&query(sql, &[])).await.unwrap();
        assert!(findings.iter().all(|found| found.severity == Severity::Warning && found.diagnosis.code == "sql_inexact_sum"));
        let places: Vec<_> = findings.iter().filter_map(|found| found.diagnosis.line.zip(found.diagnosis.column)).collect();
        assert_eq!(places, expected, "{sql}");
    }
}

#[test]
fn what_may_differ_from_run_to_run_is_found_with_its_place() {
    let findings = |sql: &str| {
        let findings = parse_select(sql, NOWHERE).unwrap().findings;
        findings.into_iter().map(|f| (f.diagnosis.code, f.severity, f.diagnosis.line.zip(f.diagnosis.column))).collect::<Vec<_>>()
    };
    let unordered = |line, column| vec![("sql_unordered".to_owned(), Severity::Error, Some((line, column)))];
    assert_eq!(findings("select array_agg(x) from t"), unordered(1, 8));
    assert_eq!(findings("select 1,\n first_value(x) from t"), unordered(2, 2));
    assert_eq!(findings("select string_agg(x, ',') from t"), unordered(1, 8));
    assert_eq!(findings("select row_number() over (partition by a) from t"), unordered(1, 8));
    assert_eq!(findings("select distinct on (a) a, b from t"), unordered(1, 21));
    assert_eq!(findings("select x from t limit 5"), [("sql_unordered_limit".to_owned(), Severity::Error, Some((1, 23)))]);
    assert_eq!(findings("select (select y from u limit 1) from t order by 1").len(), 1);
    assert_eq!(findings("select ntile(5) over (order by x) from t")[0].1, Severity::Warning);
    assert_eq!(findings("select any_value(x) from t"), unordered(1, 8));
    assert_eq!(findings("select array_agg(x) over (partition by a) from t"), unordered(1, 8));
    assert_eq!(findings("select string_agg(x, ',') over w from t window w as (partition by a)"), unordered(1, 8));
    assert_eq!(findings("select rank() over w from t window w as (partition by a)"), unordered(1, 8));
    for fine in [
        "select rank() over w, sum(x) over v from t window w as (partition by a order by b), v as (partition by a)",
        "select (select max(r) from (select rank() over w as r from u window w as (order by b))) from t window w as (partition by a)",
        "select array_agg(x order by y) over (partition by a) from t",
        "select array_agg(x order by x), first_value(x order by y) from t",
        "select last_value(x) over (order by y) from t",
        "select sum(x) over (partition by a), count(*) over () from t",
        "select x from t order by x limit 5",
        "select distinct on (a) a, b from t order by a, b",
    ] {
        assert_eq!(findings(fine), vec![], "{fine}");
    }
}

#[test]
fn what_a_limit_is_ordered_by_is_told() {
    let by = |sql: &str| parse_select(sql, NOWHERE).unwrap().limited.map(|limited| limited.by);
    let columns = |names: &[&str]| Some(Some(names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>()));
    assert_eq!(by("select x from t"), None);
    assert_eq!(by("select x from t order by x"), None);
    assert_eq!(by("select o.x, y as z from t o order by z desc, o.x limit 5"), columns(&["z", "x"]));
    assert_eq!(by("select o.id as order_id, lower(y) as z from t o order by 2, o.id fetch first 5 rows only"), columns(&["z", "order_id"]));
    assert_eq!(by("select x from t order by lower(x) limit 5"), columns(&[]));
    assert_eq!(by("select x from (select x from t order by y limit 5) order by x"), None);
}

#[tokio::test]
async fn no_function_that_differs_from_run_to_run_can_be_called() {
    let (_root, session) = session();
    let fickle = planner::fickle(&session.state);
    assert!(fickle.contains("random") && !fickle.contains("lower") && !fickle.contains("hash_bucket"), "{fickle:?}");
    for name in fickle {
        let (told, ..) = refusal(&format!("select {name}() from orders")).await;
        assert!(told.starts_with("sql_not_repeatable"), "{name}: {told}");
    }
}

#[tokio::test]
async fn every_mistake_is_told_with_its_place_in_the_file_and_what_to_do() {
    for (sql, said, place, hint) in [
        ("select\n  totl\nfrom orders", "sql_unknown_column: there is no column `totl`", Some((12, 3)), "did you mean `total`?"),
        ("select o.totl from orders o", "sql_unknown_column: there is no column `totl` in `o`", Some((11, 8)), "did you mean `total`?"),
        ("select *\nfrom orders where total >", "sql_syntax", Some((12, 26)), "ends too soon"),
        ("select *\nfrom ordrs", "sql_unknown_table: there is no table `ordrs`", Some((12, 6)), "did you mean `orders`?"),
        (
            "select date_trunk('day', ordered_at) from orders",
            "sql_unknown_function: there is no function `date_trunk`",
            Some((11, 8)),
            "did you mean `date_trunc(precision, expression)`?",
        ),
        (
            "select * from orders where ordered_at < $as_off",
            "sql_unknown_parameter: there is no value for the parameter `$as_off`",
            Some((11, 41)),
            "did you mean `$as_of`?",
        ),
        ("select customer_id, count(*) from orders", "sql_plan", Some((11, 8)), ""),
        (
            "select customer_id from orders o join customers c on o.order_id = c.order_id",
            "sql_ambiguous_column",
            Some((11, 8)),
            "name the table, too: `table.customer_id`",
        ),
        ("select order_id from orders union all select order_id, total from orders", "sql_plan", Some((11, 1)), ""),
        ("select days_between(total, $as_of) from orders", "sql_plan", Some((11, 8)), "cast the values"),
        ("select total, total from orders", "sql_", None, ""),
        ("select * from read_csv('/etc/passwd')", "sql_unknown_table", Some((11, 15)), ""),
        ("select * from '/etc/passwd'", "sql_unknown_table", None, ""),
        ("select cast(customer_id as bigint) from orders", "sql_failed", None, "use try_cast"),
        ("select 1 / (total - total) from orders", "sql_failed", None, "divide by nullif"),
    ] {
        if sql.starts_with("select total, total") {
            continue;
        }
        let (told, at, advice, exit) = refusal(sql).await;
        assert!(told.starts_with(said), "{sql}: {told}");
        if place.is_some() {
            assert_eq!(at, place, "{sql}: {told}");
        }
        assert!(advice.contains(hint) && !advice.is_empty(), "{sql}: {told}: {advice}");
        assert_eq!(exit, if said == "sql_failed" { Exit::Failed } else { Exit::Wrong }, "{sql}");
    }
}

#[tokio::test]
async fn a_message_does_not_repeat_an_address() {
    let (told, _, _, _) = refusal("select cast(customer_id || 'da@fernwood.example' as bigint) from orders").await;
    assert!(!told.contains("fernwood"), "{told}");
}

#[tokio::test]
async fn parameters_are_bound_with_their_types() {
    let params = [
        as_of("2026-01-11T10:00:00Z"),
        ("quiet_days", ScalarValue::Int64(Some(2))),
        ("who", ScalarValue::Utf8(Some("a' or 'x' = 'x".to_owned()))),
        ("least", ScalarValue::Decimal128(Some(20), 18, 4)),
        ("day", ScalarValue::Date32(Some(20_454))),
    ];
    assert_eq!(integers("select count(*) from orders where ordered_at < $as_of - interval '1 day'", &params).await, [Some(2)]);
    assert_eq!(integers("select count(*) from orders where customer_id = $who", &params).await, [Some(0)]);
    assert_eq!(integers("select count(*) from orders where total >= $least", &params).await, [Some(4)]);
    assert_eq!(integers("select $quiet_days + 1", &params).await, [Some(3)]);
    assert_eq!(
        integers("with x as (select $quiet_days as q) select (select max(q) from x where q < $quiet_days + 1)", &params).await,
        [Some(2)]
    );
    assert_eq!(
        integers("select count(*) from orders where date_trunc('day', $as_of) < ordered_at limit $quiet_days", &params).await,
        [Some(3)]
    );
    let types = rows("select $as_of as t, $who as w, $least as l, $day as d", &params).await.schema();
    let types: Vec<String> = types.fields().iter().map(|field| field.data_type().to_string()).collect();
    assert_eq!(types, ["Timestamp(µs, \"UTC\")", "Utf8", "Decimal128(18, 4)", "Date32"]);
    let none = [("who", ScalarValue::Utf8(None))];
    assert_eq!(integers("select count(*) from orders where customer_id = $who or $who is null", &none).await, [Some(5)]);
}

#[tokio::test]
async fn text_comes_back_as_utf8() {
    let (_root, session) = session();
    let sql = "select tier, upper(tier) as u, array_agg(tier order by order_id) as l, cast(1 as varchar) as v from orders group by tier";
    let schema = session.schema(&query(sql, &[])).await.unwrap();
    let batches = session.collect(&query(sql, &[])).await.unwrap();
    assert_eq!(batches[0].schema(), schema);
    for field in schema.fields() {
        let text = match field.data_type() {
            DataType::List(item) => item.data_type(),
            other => other,
        };
        assert_eq!(text, &DataType::Utf8, "{field}");
    }
}

#[tokio::test]
async fn a_schema_is_known_without_running_the_query() {
    let (_root, session) = session();
    // The division would fail.
    let schema = session.schema(&query("select order_id, 1 / 0 as x from orders", &[])).await;
    assert_eq!(schema.unwrap().fields().len(), 2);
    let error = session.schema(&query("select order_id + interval '1 day' from orders", &[])).await.unwrap_err();
    assert_eq!(error.exit(), Exit::Wrong);
}

#[tokio::test]
async fn days_between_counts_midnights_where_the_person_lives() {
    let one = |a: &str, b: &str, zone: &str| {
        let sql = format!("select days_between(cast('{a}' as timestamp), cast('{b}' as timestamp){zone})");
        async move { integers(&sql, &[]).await[0] }
    };
    assert_eq!(one("2026-01-01T23:30:00Z", "2026-01-02T00:30:00Z", "").await, Some(1));
    assert_eq!(one("2026-01-01T23:30:00Z", "2026-01-02T00:30:00Z", ", 'Europe/Berlin'").await, Some(0));
    assert_eq!(one("2026-01-02T00:30:00Z", "2026-01-01T23:30:00Z", "").await, Some(-1));
    // The night the clocks go forward has 23 hours, the night they go back 25: still one day each.
    assert_eq!(one("2026-03-28T22:59:00Z", "2026-03-29T22:01:00Z", ", 'Europe/Berlin'").await, Some(2));
    assert_eq!(one("2026-03-28T23:30:00Z", "2026-03-29T22:30:00Z", ", 'Europe/Berlin'").await, Some(1));
    assert_eq!(one("2026-10-24T22:30:00Z", "2026-10-25T22:30:00Z", ", 'Europe/Berlin'").await, Some(0));
    assert_eq!(one("2026-10-24T22:30:00Z", "2026-10-25T23:30:00Z", ", 'Europe/Berlin'").await, Some(1));
    assert_eq!(one("1969-12-31T23:59:59Z", "1970-01-01T00:00:00Z", "").await, Some(1));
    assert_eq!(one("2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z", ", z) from (values ('Nowhere/Land')) t(z").await, None);
    let (message, place, ..) = refusal("select days_between(ordered_at, $as_of, 'Europe/Berln') from orders").await;
    assert_eq!((message.as_str(), place), ("sql_plan: there is no time zone `Europe/Berln`", Some((11, 41))));
    assert_eq!(one("2026-01-01T00:00:00Z", "2026-01-09T00:00:00Z", ", cast(null as varchar)").await, None);
    assert_eq!(integers("select days_between(null, ordered_at) from orders limit 1", &[]).await, [None]);
    assert_eq!(integers("select days_between(date '2026-02-28', date '2026-03-01')", &[]).await, [Some(1)]);
    let mixed = "select days_between(date '2026-01-01', ordered_at, 'Asia/Tokyo') from orders order by order_id";
    assert_eq!(integers(mixed, &[]).await, [Some(0), Some(1), Some(10), Some(31), Some(31)]);
    let params = [as_of("2026-03-01T12:00:00Z"), ("brand_timezone", ScalarValue::Utf8(Some("Europe/Berlin".to_owned())))];
    let sql = "select days_between(max(ordered_at), $as_of, $brand_timezone) from orders group by customer_id";
    assert_eq!(integers(sql, &params).await, [Some(28), Some(28)]);
}

#[tokio::test]
async fn a_rhythm_is_the_median_gap_between_days_however_the_rows_are_spread() {
    let mut ids = Vec::new();
    let mut at = Vec::new();
    for customer in 0..500_i64 {
        for order in 0..customer % 6 {
            // Two orders on each of its days, the days customer + order apart.
            let day = order * (customer + order) * 86_400_000_000;
            ids.extend([format!("{customer:03}"), format!("{customer:03}")]);
            at.extend([Some(day), Some(day + 3_600_000_000)]);
        }
        ids.push(format!("{customer:03}"));
        at.push(None);
    }
    let order: Vec<u32> = (0..u32::try_from(ids.len()).unwrap()).map(|row| row * 7919 % u32::try_from(ids.len()).unwrap()).collect();
    let rows = batch(vec![
        ("customer_id", Arc::new(StringArray::from(ids))),
        ("ordered_at", Arc::new(TimestampMicrosecondArray::from(at).with_timezone("UTC"))),
    ]);
    let shuffled = arrow::compute::take_record_batch(&rows, &arrow::array::UInt32Array::from(order)).unwrap();
    let mut answers = Vec::new();
    for (partitions, rows) in [(1, rows), (1, shuffled.clone()), (4, shuffled)] {
        let settings = EngineSettings { partitions, ..EngineSettings::default() };
        let (_root, engine) = engine(settings);
        let session = engine.session(BTreeMap::from([("orders".to_owned(), table(rows, partitions))])).unwrap();
        let sql = "select customer_id, rhythm(ordered_at) as r, rhythm(ordered_at) filter (where customer_id > '250') as f \
                   from orders group by customer_id order by customer_id";
        let batches = session.collect(&query(sql, &[])).await.unwrap();
        answers.push(pretty_format_batches(&batches).unwrap().to_string());
        let all = arrow::compute::concat_batches(batches[0].schema_ref(), &batches).unwrap();
        let rhythms = all.column(1).as_primitive::<Decimal128Type>();
        assert_eq!(rhythms.data_type(), &DataType::Decimal128(10, 2));
        assert!(rhythms.is_null(0) && rhythms.is_null(1), "fewer than two days");
        assert_eq!(rhythms.value(2), 300, "one gap of 3 days");
        assert_eq!(rhythms.value(3), 500, "days 0, 4 and 10: gaps of 4 and 6 days");
    }
    assert_eq!(answers[0], answers[1]);
    assert_eq!(answers[0], answers[2]);
}

#[tokio::test]
async fn a_rhythm_without_groups_and_over_dates() {
    let one = |rows: RecordBatch| rows.column(0).as_primitive::<Decimal128Type>().iter().collect::<Vec<_>>();
    assert_eq!(one(rows("select rhythm(ordered_at) from orders", &[]).await), [Some(1550)], "gaps of 10 and 21 days");
    assert_eq!(one(rows("select rhythm(ordered_at) from orders where false", &[]).await), [None]);
    assert_eq!(one(rows("select rhythm(cast(ordered_at as date)) from orders where customer_id = 'b'", &[]).await), [None]);
    let sql = "select rhythm(ordered_at) over (partition by customer_id order by order_id) from orders order by order_id";
    assert_eq!(one(rows(sql, &[]).await), [None, None, Some(1000), Some(1550), None]);
}

#[tokio::test]
async fn different_days_are_counted_as_numbers() {
    let sql = "with t(who, day, at) as (values \
                 ('a', date '2026-01-01', timestamp '2026-01-01T08:00:00Z'), ('a', date '2026-01-01', timestamp '2026-01-01T08:00:00Z'), \
                 ('a', date '1969-12-31', null), ('a', null, timestamp '2026-01-02T08:00:00Z'), ('b', null, null)) \
               select who, count(distinct day) as days, count(distinct at) filter (where day is not null) as \"times\", count(*) as n \
               from t group by who having count(distinct day) < 9 order by who";
    let told = rows(sql, &[]).await;
    assert_eq!(told.schema().fields().iter().map(|field| field.name().as_str()).collect::<Vec<_>>(), ["who", "days", "times", "n"]);
    let column = |at: usize| told.column(at).as_primitive::<Int64Type>().values().to_vec();
    assert_eq!((column(1), column(2), column(3)), (vec![2, 0], vec![1, 0], vec![4, 1]));
    let (_root, session) = session();
    let steps = session.explanation(&query("select count(distinct ordered_at), count(*) from orders", &[]), false).await.unwrap();
    assert!(steps.contains("Int64"), "{steps}");
}

#[tokio::test]
async fn words_that_a_function_would_pass_over_are_refused() {
    for (sql, word) in [
        ("select upper(tier) filter (where true) from orders", "filter"),
        ("select upper(tier) over (order by order_id) from orders", "over"),
        ("select upper(distinct tier) from orders", "distinct"),
    ] {
        let (message, place, ..) = refusal(sql).await;
        let told = format!("sql_unsupported: `upper` looks at one row at a time, so `{word}` has no meaning for it");
        assert_eq!((message, place), (told, Some((11, 8))));
    }
    let fine = "select count(distinct tier) filter (where true), max(total) from orders";
    assert_eq!(integers(fine, &[]).await, [Some(1)]);
}

#[tokio::test]
async fn dates_and_months_are_those_of_the_zone() {
    let dates = rows(
        "select local_date(cast(t as timestamp), z) from (values \
        ('2026-03-01T23:30:00Z', 'Europe/Berlin'), ('2026-03-01T23:30:00Z', 'America/New_York'), \
        ('2026-03-01T23:30:00Z', 'Europe/Berlin'), ('2026-03-01T23:30:00Z', 'Nowhere/Land'), (null, 'UTC')) v(t, z)",
        &[],
    )
    .await;
    let dates: Vec<_> = dates.column(0).as_primitive::<arrow::datatypes::Date32Type>().iter().collect();
    let day = |date: &str| Some(i32::try_from((date.parse::<NaiveDate>().unwrap() - NaiveDate::default()).num_days()).unwrap());
    assert_eq!(dates, [day("2026-03-02"), day("2026-03-01"), day("2026-03-02"), None, None]);
    let months = "select months_between(date '2000-02-29', $as_of, 'Asia/Tokyo') / 12";
    assert_eq!(integers(months, &[as_of("2026-02-27T14:59:59Z")]).await, [Some(25)]);
    assert_eq!(integers(months, &[as_of("2026-02-27T15:00:00Z")]).await, [Some(26)], "the 28th has begun in Tokyo");
    assert_eq!(integers("select months_between(date '2026-03-01', null)", &[]).await, [None]);
}

#[tokio::test]
async fn equal_values_fall_into_equal_buckets() {
    let scores = "with c as (select quantile_cuts(x, 5) as cuts from (values (1), (1), (1), (2), (3), (9), (null)) t(x)) \
                  select bucket(y, cuts) from (values (0), (1), (2), (3), (4), (99), (null)) u(y) cross join c";
    assert_eq!(integers(scores, &[]).await, [Some(1), Some(1), Some(3), Some(4), Some(5), Some(5), None]);
    assert_eq!(integers("select bucket(total * 10000, [15, 45]) from orders order by order_id", &[]).await, [1, 2, 2, 2, 3].map(Some));
    assert_eq!(integers("select bucket(3, quantile_cuts(total, 2)) from orders where false", &[]).await, [None]);
    for (wrong, told) in [
        ("select bucket(cast(1 as double), [1])", "bucket takes whole numbers, decimals and dates, not Float64 with cuts of Int64"),
        ("select bucket(date '2026-01-01', [1])", "bucket takes a value of the kind its cuts are; Date32 is not Int64"),
        ("select quantile_cuts(total, 1.5) from orders", "quantile_cuts takes a whole number of parts, not "),
    ] {
        let (message, ..) = refusal(wrong).await;
        assert!(message.contains(told), "{message}");
    }
    let (message, ..) = refusal("select quantile_cuts(total, 1) from orders").await;
    assert_eq!(message, "sql_failed: quantile_cuts cuts into 2 to 1000 parts, not 1");
}

#[tokio::test]
async fn addresses_and_buckets_in_sql() {
    let text = rows("select lower_email(x) from (values (' Ada@B.example'), ('none'), (null)) t(x)", &[]).await;
    assert_eq!(text.column(0).as_string::<i32>().iter().collect::<Vec<_>>(), [Some("ada@b.example"), None, None]);
    let sql = "select hash_bucket(order_id, 'spring', 100) from orders order by order_id";
    let expected: Vec<_> = ["1", "2", "3", "4", "5"].map(|key| Some(i64::try_from(hash_bucket(key, "spring", 100)).unwrap())).to_vec();
    assert_eq!(integers(sql, &[]).await, expected);
    assert_eq!(integers("select hash_bucket(null, 's', 3)", &[]).await, [None]);
    let (_root, session) = session();
    let error = session.collect(&query("select hash_bucket('a', 's', 0)", &[])).await.unwrap_err();
    assert_eq!(error.diagnosis().message, "hash_bucket deals into at least 1, not into 0");
    assert_eq!(documentation().len(), 8);
}

/// Two tables whose join needs more memory than there is, in batches as files give them.
fn crowded(partitions: usize) -> (tempfile::TempDir, Session) {
    let settings = EngineSettings { memory_limit: "32MiB".to_owned(), partitions, ..EngineSettings::default() };
    let (root, engine) = engine(settings);
    let n: i64 = 400_000;
    let wide = |seed: i64| -> Arc<dyn TableProvider> {
        let rows: Vec<i64> = (0..n).collect();
        let batches = rows.chunks(8192).map(|rows| {
            let keys = Int64Array::from_iter_values(rows.iter().map(|row| row * seed % n));
            let text = StringArray::from_iter_values(rows.iter().map(|row| format!("{:0>60}", row * seed)));
            batch(vec![("k", Arc::new(keys)), ("v", Arc::new(text))])
        });
        let batches: Vec<RecordBatch> = batches.collect();
        let (one, other) = batches.split_at(batches.len() / 2);
        Arc::new(MemTable::try_new(batches[0].schema(), vec![one.to_vec(), other.to_vec()]).unwrap())
    };
    let session = engine.session(BTreeMap::from([("a".to_owned(), wide(7)), ("b".to_owned(), wide(11))])).unwrap();
    (root, session)
}

const CROWD: &str = "select count(*), max(a.v || b.v) from a join b on a.k = b.k";

#[tokio::test]
async fn a_join_that_does_not_fit_is_run_another_way() {
    let (root, session) = crowded(2);
    let crowd = query(CROWD, &[]);
    let mut attempts = session.attempts(&crowd).unwrap();
    let error = attempts.begin().await.unwrap().try_collect::<Vec<_>>().await.unwrap_err();
    assert!(attempts.another(), "a hash join alone should not fit: {error}");

    let batches = session.collect(&crowd).await.unwrap();
    assert_eq!(batches[0].column(0).as_primitive::<Int64Type>().value(0), 400_000);

    let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
    let sql = "select a.k, a.v, b.v as w from a join b on a.k = b.k";
    let written = session.replace(&query(sql, &[]), &lake, "joined", Commit::default()).await.unwrap();
    assert_eq!(written.rows, 400_000);
    assert_eq!(written.version, 0, "ways that failed left no version behind");
}

#[tokio::test]
async fn narrow_rows_are_sorted_by_all_of_their_columns_beyond_memory() {
    let (_root, engine) = engine(EngineSettings { memory_limit: "16MiB".to_owned(), partitions: 2, ..EngineSettings::default() });
    let texts = StringArray::from_iter_values((0_i64..600_000).map(|n| format!("{:x}", (n * 7919) % 600_000)));
    let rows = batch(vec![("k", Arc::new(texts) as ArrayRef), ("v", Arc::new(Int64Array::from_iter_values(0..600_000)))]);
    let session = engine.session(BTreeMap::from([("t".to_owned(), table(rows, 2))])).unwrap();
    let sql = "select count(*), sum(case when p < k then 1 else 0 end) from (select k, lag(k) over (order by k, v) as p from t)";
    let counts = session.collect(&query(sql, &[])).await.unwrap();
    let counts: Vec<i64> = counts[0].columns().iter().map(|column| column.as_primitive::<Int64Type>().value(0)).collect();
    assert_eq!(counts, [600_000, 599_999]);
    assert!(engine.cost().spilled > 0);
}

#[tokio::test]
async fn an_explanation_tells_the_way_that_led_to_the_end() {
    let (_root, session) = crowded(2);
    let steps = session.explanation(&query(CROWD, &[]), true).await.unwrap();
    assert!(steps.starts_with("Memory ran out "), "{steps}");
    assert!(steps.contains("SortMergeJoin") && steps.contains("output_rows=400.0 K"), "{steps}");
}

#[tokio::test]
async fn the_last_way_holds_no_side_of_a_join() {
    let (_root, session) = crowded(1);
    let plan = session.plan(&query(CROWD, &[])).unwrap();
    for way in Rung::thriftier(32 << 20, 1).into_iter().rev().take(2) {
        let rows: Vec<RecordBatch> = session.begin(&plan, way, false).await.unwrap().remove(0).try_collect().await.unwrap();
        assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 400_000, "{way:?}");
    }
}

#[tokio::test]
async fn what_fits_in_no_way_says_which_setting_helps() {
    let (_root, session) = crowded(2);
    let sql = "select cardinality(array_agg(a.v || b.v order by a.k)) from a join b on a.k = b.k";
    let error = session.collect(&query(sql, &[])).await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("sql_memory", Exit::Failed));
    assert!(error.diagnosis().hint.unwrap().contains("`[engine] memory_limit`"));
    let message = error.diagnosis().message;
    assert!(
        message.contains("more memory than the 32 MiB") && message.contains(" were in use") && message.contains(" asked for "),
        "{message}"
    );
}

#[tokio::test]
async fn what_a_hash_join_looks_up_is_gathered_once_and_counted_meanwhile() {
    let (_root, session) = crowded(2);
    let join = |rows: u32| format!("select count(*), max(a.v || b.v) from (select * from a where k < {rows}) a join b on a.k = b.k");
    let small = session.explanation(&query(&join(50_000), &[]), true).await.unwrap();
    assert!(small.contains("build_input_batches=1, build_input_rows=50.00 K"), "{small}");
    // With the join's table they would fit into the 32 MiB, and did when nobody counted that the text stands there twice for a moment.
    let large = session.explanation(&query(&join(260_000), &[]), true).await.unwrap();
    assert!(large.starts_with("Memory ran out 1x"), "{large}");
    let none = session.collect(&query(&join(0), &[])).await.unwrap();
    assert_eq!(none[0].column(0).as_primitive::<Int64Type>().value(0), 0);
}

#[tokio::test]
async fn a_window_that_holds_all_its_rows_is_counted() {
    let (_root, session) = crowded(2);
    let sql =
        "select max(part) from (select ntile(5) over (order by k) as part, v from (select k, repeat(v, 4) as v from a)) where v <> ''";
    let error = session.collect(&query(sql, &[])).await.unwrap_err().diagnosis();
    assert_eq!(error.code, "sql_memory");
    assert!(error.message.contains("of it by a window that holds all its rows"), "{}", error.message);
    let small = "select count(*) from (select ntile(5) over (order by k) as part from a where k < 1000) where part = 1";
    let counted = session.collect(&query(small, &[])).await.unwrap();
    assert_eq!(counted[0].column(0).as_primitive::<Int64Type>().value(0), 200);
}

#[tokio::test]
async fn every_way_gives_the_same_answer() {
    let (_root, engine) = engine(EngineSettings { partitions: 4, ..EngineSettings::default() });
    let side = |keys: &[Option<i64>]| {
        let names = StringArray::from_iter_values((0..keys.len()).map(|row| row.to_string()));
        table(batch(vec![("k", Arc::new(Int64Array::from(keys.to_vec()))), ("v", Arc::new(names))]), 2)
    };
    let tables = BTreeMap::from([
        ("a".to_owned(), side(&[Some(1), Some(2), Some(2), None, Some(5), Some(7)])),
        ("b".to_owned(), side(&[Some(2), Some(2), None, Some(5), Some(9)])),
        ("c".to_owned(), side(&[Some(7), Some(9)])),
    ]);
    let session = engine.session(tables).unwrap();
    for sql in [
        "select a.v, b.v as w from a join b on a.k = b.k order by 1, 2",
        "select a.v, b.v as w from a left join b on a.k = b.k and a.v < b.v order by 1, 2",
        "select a.v, b.v as w from a full join b on a.k = b.k order by 1, 2",
        "select v from a where k in (select k from b) order by v",
        "select v from a where k not in (select k from b) order by v",
        "select v from a where k not in (select k from c) order by v",
        "select v from a where not exists (select 1 from b where b.k = a.k) order by v",
        "select v from a where k in (select k from c) or v < '2' order by v",
        "select a.v, c.v as w from a join b on a.k is not distinct from b.k left join c on c.k = a.k order by 1, 2",
        "select b.k, count(*) as n from a right join b on a.k = b.k group by b.k order by 1",
    ] {
        let plan = session.plan(&query(sql, &[])).unwrap();
        let mut answers = Vec::new();
        for way in [Rung::first(1 << 30, 4)].into_iter().chain(Rung::thriftier(1 << 30, 4)) {
            let rows: Vec<RecordBatch> = session.begin(&plan, way, false).await.unwrap().remove(0).try_collect().await.unwrap();
            answers.push(pretty_format_batches(&rows).unwrap().to_string());
        }
        assert!(answers.iter().all(|answer| *answer == answers[0]), "{sql}: {answers:#?}");
    }
}

#[tokio::test]
async fn a_query_that_takes_too_long_is_broken_off() {
    let settings = EngineSettings { timeout: Period::seconds(0), ..EngineSettings::default() };
    let (_root, engine) = engine(settings);
    let session = engine.session(BTreeMap::new()).unwrap();
    let sql = "select sum(a.value * b.value) from generate_series(1, 1000000) a, generate_series(1, 100000) b";
    let error = session.collect(&query(sql, &[])).await.unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("sql_timeout", Exit::Failed));
}

#[tokio::test]
async fn the_larger_side_of_a_join_is_not_held_however_the_query_puts_it() {
    let (root, engine) = engine(EngineSettings::default());
    let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
    let mut tables = BTreeMap::new();
    for (table, columns, rows) in [
        ("liked", "n % 1500 as customer_id, n % 20 as product_id, n % 2 as kept, n % 3 as returned, n % 5 as recency", 30_000),
        ("pairs", "n % 20 as product_id, n % 19 as partner_id", 200),
        ("bought", "n % 1500 as customer_id, n % 19 as product_id", 28_500),
    ] {
        let sql = format!("select {columns} from (select unnest(range(0, {rows})) as n)");
        let none = engine.session(BTreeMap::new()).unwrap();
        none.replace(&query(&sql, &[]), &lake, table, Commit::default()).await.unwrap();
        tables.insert(table.to_owned(), lake.provider(table, None).await.unwrap());
    }
    // A quarter of 30,000 rows is left, each of them meets ten: more than what was bought.
    let sql = "select l.customer_id, n.partner_id, b.product_id from liked l join pairs n on n.product_id = l.product_id \
               left join bought b on b.customer_id = l.customer_id and b.product_id = n.partner_id \
               where l.kept > 0 and l.returned = 0 and l.recency < 3";
    let plan = engine.session(tables).unwrap().explanation(&query(sql, &[]), false).await.unwrap();
    let place = |table: &str| plan.find(&format!("/{table}/")).unwrap();
    // The held side stands before the other.
    assert!(place("bought") < place("pairs") && place("pairs") < place("liked"), "{plan}");
}

#[tokio::test]
async fn on_two_cores_a_large_join_leaves_the_other_side_where_it_lies() {
    let sql = "select o.customer_id, l.product_id, count(*) as lines, max(o.ordered_at) as last_at \
               from orders o join lines l on l.order_id = o.order_id group by o.customer_id, l.product_id";
    for partitions in [2, 3] {
        let (root, engine) = engine(EngineSettings { partitions, ..EngineSettings::default() });
        let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
        let mut tables = BTreeMap::new();
        for (table, columns, by) in [
            (
                "orders",
                "concat('c', 1000000 + n / 4) as customer_id, concat('o', n) as order_id, n as ordered_at",
                ["customer_id", "order_id"],
            ),
            ("lines", "concat('o', n) as order_id, concat('p', n % 50) as product_id", ["order_id", "product_id"]),
        ] {
            let sql = format!("select {columns} from (select value as n from generate_series(1, 300000)) order by {}, {}", by[0], by[1]);
            let commit = Commit { sorted: by.map(str::to_owned).into(), ..Commit::default() };
            let none = engine.session(BTreeMap::new()).unwrap();
            none.replace(&query(&sql, &[]), &lake, table, commit).await.unwrap();
            tables.insert(table.to_owned(), lake.provider(table, None).await.unwrap());
        }
        let plan = engine.session(tables).unwrap().explanation(&query(sql, &[]), false).await.unwrap();
        // Beyond what is held once for more of them, both sides are dealt out.
        let dealt_out = partitions > 2;
        assert_eq!(plan.contains("mode=Partitioned, join_type"), dealt_out, "{plan}");
        assert_eq!(plan.contains("RepartitionExec: partitioning=Hash"), dealt_out, "{plan}");
    }
}

#[tokio::test]
async fn a_lake_table_is_read_with_its_filters_and_written_from_a_query() {
    let (root, engine) = engine(EngineSettings::default());
    let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
    lake.merge("orders", &["order_id".to_owned()], vec![orders()], Commit::default()).await.unwrap();
    let session = engine.session(BTreeMap::from([("orders".to_owned(), lake.provider("orders", None).await.unwrap())])).unwrap();
    let sql = "select customer_id, count(*) as orders, max(ordered_at) as last_at, null as note, row_number() over (order by customer_id) as n \
               from orders where ordered_at >= timestamp '2026-01-11T00:00:00Z' group by customer_id order by customer_id";
    let written = session.replace(&query(sql, &[]), &lake, "recent", Commit::default()).await.unwrap();
    assert_eq!((written.rows, written.version), (2, 0));
    let read = lake.read("recent", None).await.unwrap();
    assert_eq!(read[0].column_by_name("orders").unwrap().as_primitive::<Int64Type>().values(), &[2, 1]);
    // A failing query leaves the table as it was, and tells where.
    let sql = "select cast(customer_id as bigint) as c from orders";
    let failure = session.replace(&query(sql, &[]), &lake, "recent", Commit::default()).await.unwrap_err();
    assert_eq!((failure.exit, failure.diagnosis.code.as_str()), (Exit::Failed, "sql_failed"));
    let sql = "select count(*) from orders";
    let failure = session.replace(&query(sql, &[]), &lake, "recent", Commit::default()).await.unwrap_err();
    assert_eq!((failure.exit, failure.diagnosis.code.as_str()), (Exit::Wrong, "lake_column"));
    assert_eq!(lake.latest("recent").await.unwrap(), Some(0));
}

#[test]
fn settings_that_are_no_size_are_refused() {
    let root = tempfile::tempdir().unwrap();
    for (memory_limit, max_spill) in [("much", "20GiB"), ("50%", "everything")] {
        let settings =
            EngineSettings { memory_limit: memory_limit.to_owned(), max_spill: max_spill.to_owned(), ..EngineSettings::default() };
        let error = Engine::new(root.path(), &settings).unwrap_err();
        assert_eq!((error.exit(), error.diagnosis().code.as_str()), (Exit::Wrong, "bad_value"));
    }
    let day = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap();
    assert_eq!(Date32Array::from(vec![20_454]).value_as_date(0), Some(day));
}
