use std::{collections::BTreeSet, time::Duration};

use arrow::{
    array::{
        Array, ArrayRef, AsArray, BooleanArray, Date32Array, Decimal128Array, Int64Array, ListArray, NullArray, StringArray,
        StringViewArray, StructArray, TimestampMicrosecondArray, UInt64Array,
    },
    buffer::OffsetBuffer,
    datatypes::{DataType, Field, Int64Type, Schema, TimeUnit, TimestampMicrosecondType},
};
use chrono::TimeDelta;
use datafusion::{physical_plan::stream::RecordBatchStreamAdapter, prelude::SessionContext};
use parquet::{
    arrow::arrow_reader::{ArrowReaderMetadata, ArrowReaderOptions},
    file::metadata::{PageIndexPolicy, ParquetMetaData},
};
use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::diagnosis::{Diagnose, Exit};

fn lake() -> (tempfile::TempDir, Lake) {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
    (folder, lake)
}

fn root(lake: &Lake) -> &Path {
    match &lake.root {
        Root::Disk(root) => root,
        Root::Bucket(_) => panic!("a lake in a bucket has no folder"),
    }
}

fn batch(columns: Vec<(&str, ArrayRef)>) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable(columns.into_iter().map(|(name, column)| (name, column, true))).unwrap()
}

fn people(rows: &[(&str, i64)]) -> RecordBatch {
    batch(vec![
        ("id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0)))),
        ("score", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1)))),
    ])
}

fn key() -> Vec<String> {
    vec!["id".to_owned()]
}

fn at_cursor(cursor: i64) -> Commit {
    Commit { run: Some(format!("run-{cursor}")), cursor: Some(json!({ "updated_at": cursor })), ..Commit::default() }
}

async fn scores(lake: &Lake, table: &str, version: Option<i64>) -> BTreeMap<String, i64> {
    let mut scores = BTreeMap::new();
    for batch in lake.read(table, version).await.unwrap() {
        let (ids, values) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        for (id, value) in ids.iter().zip(values.iter()) {
            assert!(scores.insert(id.unwrap().to_owned(), value.unwrap()).is_none(), "{id:?} stands twice in {table}");
        }
    }
    scores
}

fn stream(batches: Vec<RecordBatch>) -> SendableRecordBatchStream {
    let schema = batches[0].schema();
    Box::pin(RecordBatchStreamAdapter::new(schema, futures::stream::iter(batches.into_iter().map(Ok))))
}

async fn query(lake: &Lake, table: &str, sql: &str) -> Vec<RecordBatch> {
    let context = SessionContext::new();
    context.register_table(table, lake.provider(table, None).await.unwrap()).unwrap();
    context.sql(sql).await.unwrap().collect().await.unwrap()
}

async fn count(lake: &Lake, table: &str, sql: &str) -> i64 {
    query(lake, table, sql).await[0].column(0).as_primitive::<Int64Type>().value(0)
}

#[derive(Debug, Clone)]
enum Step {
    Merge(Vec<(u8, i64)>),
    Cursor,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let merge = prop::collection::vec((any::<u8>(), any::<i64>()), 1..40).prop_map(Step::Merge);
    prop::collection::vec(prop_oneof![9 => merge, 1 => Just(Step::Cursor)], 1..14)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn a_merged_table_equals_a_map_at_every_version(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let (_folder, lake) = lake();
            let mut model: BTreeMap<String, i64> = BTreeMap::new();
            lake.ensure("people", people(&[("x", 1)]).schema()).await.unwrap();
            let mut versions = vec![(0, model.clone(), None)];
            for (cursor, step) in (1..).zip(steps) {
                let rows: Vec<(String, i64)> = match step {
                    Step::Merge(rows) => rows.into_iter().map(|(id, score)| (format!("{id:03}"), score)).collect(),
                    Step::Cursor => Vec::new(),
                };
                let before = model.len();
                model.extend(rows.iter().cloned());
                let distinct = rows.iter().map(|row| &row.0).collect::<BTreeSet<_>>().len();
                let halves = rows.chunks(rows.len() / 2 + 1).map(|half| {
                    people(&half.iter().map(|(id, score)| (id.as_str(), *score)).collect::<Vec<_>>())
                });
                let written = lake.merge("people", &key(), halves.collect(), at_cursor(cursor)).await.unwrap();
                let inserted = (model.len() - before) as u64;
                assert_eq!((written.rows, written.inserted, written.updated), (model.len() as u64, inserted, distinct as u64 - inserted));
                versions.push((written.version, model.clone(), Some(cursor)));
            }
            for (version, model, cursor) in versions {
                assert_eq!(scores(&lake, "people", Some(version)).await, model);
                let noted = lake.find("people", Some(version)).await.unwrap().unwrap().cursor();
                assert_eq!(noted, cursor.map(|cursor| json!({ "updated_at": cursor })));
            }
        });
    }
}

#[tokio::test]
async fn different_values_are_counted_of_a_table_that_is_written_as_a_whole() {
    let (_folder, lake) = lake();
    let rows = |range: std::ops::Range<i64>| -> RecordBatch {
        let each: ArrayRef = Arc::new(Int64Array::from_iter_values(range.clone()));
        let few: ArrayRef = Arc::new(range.map(|n| format!("k{}", n % 7)).map(Some).collect::<StringArray>());
        RecordBatch::try_from_iter([("each", each), ("few", few)]).unwrap()
    };
    let schema = rows(0..1).schema();
    let parts = vec![stream(vec![rows(0..3000), rows(3000..4000)]), stream(vec![rows(4000..5000)])];
    lake.replace_in_parts("things", Arc::clone(&schema), parts, Commit::default()).await.unwrap();
    lake.replace("things", schema, stream(vec![rows(0..50)]), Commit::default()).await.unwrap();
    for (version, expected) in [(0, 5000), (1, 50)] {
        let told = lake.provider("things", Some(version)).await.unwrap().statistics().unwrap();
        let counts: Vec<usize> = told.column_statistics.iter().map(|column| *column.distinct_count.get_value().unwrap()).collect();
        assert!(counts[0].abs_diff(expected) * 10 <= expected && counts[1] == 7, "{counts:?} of {expected}");
    }
    // Nothing is said of rows that came since.
    lake.merge("things", &["each".to_owned()], vec![rows(40..90)], Commit::default()).await.unwrap();
    let told = lake.provider("things", None).await.unwrap().statistics().unwrap();
    assert!(told.column_statistics.iter().all(|column| column.distinct_count.get_value().is_none()));
}

#[tokio::test]
async fn rows_and_their_cursor_stand_in_one_commit() {
    let (_folder, lake) = lake();
    lake.ensure("orders", people(&[("x", 1)]).schema()).await.unwrap();
    assert_eq!(lake.cursor("orders").await.unwrap(), None);
    let written = lake.merge("orders", &key(), vec![people(&[("a", 1)])], at_cursor(7)).await.unwrap();
    let commit = std::fs::read_to_string(root(&lake).join(format!("orders/_delta_log/{:020}.json", written.version))).unwrap();
    assert!(commit.contains("\"add\"") && commit.contains("perennial.cursor") && commit.contains("run-7"), "{commit}");
    lake.merge("orders", &key(), vec![people(&[("b", 1)])], Commit::default()).await.unwrap();
    assert_eq!(lake.cursor("orders").await.unwrap(), Some(json!({ "updated_at": 7 })));
}

#[tokio::test]
async fn a_cursor_and_old_versions_outlive_checkpoints() {
    let (_folder, lake) = lake();
    lake.merge("orders", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap();
    for round in 0..54 {
        lake.merge("orders", &key(), vec![people(&[("b", round)])], Commit::default()).await.unwrap();
    }
    assert!(root(&lake).join("orders/_delta_log").join(format!("{:020}.checkpoint.parquet", 50)).exists());
    assert_eq!(lake.cursor("orders").await.unwrap(), Some(json!({ "updated_at": 1 })));
    assert_eq!(scores(&lake, "orders", Some(20)).await["b"], 19);
    assert_eq!(scores(&lake, "orders", None).await["b"], 53);
    // The summary alone is enough: the log before it can be gone.
    for version in 0..50 {
        std::fs::remove_file(root(&lake).join(format!("orders/_delta_log/{version:020}.json"))).unwrap();
    }
    assert_eq!(lake.cursor("orders").await.unwrap(), Some(json!({ "updated_at": 1 })));
    assert_eq!(scores(&lake, "orders", None).await.len(), 2);
}

#[tokio::test]
async fn many_small_merges_leave_few_files() {
    let (_folder, lake) = lake();
    for round in 0..40 {
        lake.merge("orders", &key(), vec![people(&[(&format!("{:02}", 99 - round), round)])], Commit::default()).await.unwrap();
    }
    let snapshot = lake.find("orders", None).await.unwrap().unwrap();
    assert!(snapshot.files.len() <= 8, "{} files", snapshot.files.len());
    assert_eq!(snapshot.rows(), 40);
    assert_eq!(count(&lake, "orders", "select count(*) from orders").await, 40);
}

#[tokio::test]
async fn old_versions_are_readable_until_they_expire_and_pinned_ones_after() {
    let (_folder, lake) = lake();
    for score in 0..4 {
        lake.replace("segment", people(&[("a", 1)]).schema(), stream(vec![people(&[("a", score)])]), Commit::default()).await.unwrap();
    }
    std::fs::write(root(&lake).join("segment/v000000004-00000.parquet"), "left behind").unwrap();
    let none = BTreeMap::new();
    assert_eq!(lake.expire(Period::days(30), Utc::now(), &none).await.unwrap(), Expired::default());
    assert_eq!(scores(&lake, "segment", Some(0)).await["a"], 0);

    let pinned = BTreeMap::from([("segment".to_owned(), vec![1])]);
    let later = Utc::now() + TimeDelta::days(31);
    let expired = lake.expire(Period::days(30), later, &pinned).await.unwrap();
    assert_eq!(expired.files, 3, "versions 0 and 2, and what was left behind");
    assert!(expired.bytes > 0);
    assert_eq!(scores(&lake, "segment", Some(1)).await["a"], 1);
    assert_eq!(scores(&lake, "segment", None).await["a"], 3);
    for gone in [0, 2] {
        assert!(matches!(lake.read("segment", Some(gone)).await, Err(LakeError::NoVersion { .. })));
        let error = lake.provider("segment", Some(gone)).await.unwrap_err();
        assert_eq!(error.exit(), Exit::Wrong);
    }
}

#[tokio::test]
async fn a_version_that_was_live_within_the_keep_period_is_spared() {
    let (_folder, lake) = lake();
    for score in 0..2 {
        lake.replace("segment", people(&[("a", 1)]).schema(), stream(vec![people(&[("a", score)])]), Commit::default()).await.unwrap();
    }
    // Version 0 was replaced only now: it was live within the last day, however old it is itself.
    lake.expire(Period::days(1), Utc::now() + TimeDelta::hours(23), &BTreeMap::new()).await.unwrap();
    assert_eq!(scores(&lake, "segment", Some(0)).await["a"], 0);
}

#[tokio::test]
async fn a_killed_write_changes_nothing_and_does_not_stand_in_the_way() {
    let (_folder, lake) = lake();
    lake.merge("orders", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap();
    let folder = root(&lake).join("orders");
    std::fs::write(folder.join("v000000001-00000.parquet"), "half a file").unwrap();
    std::fs::write(folder.join(".commit-00000000000000000001-1"), "half a commit").unwrap();
    assert_eq!(scores(&lake, "orders", None).await.len(), 1);
    lake.merge("orders", &key(), vec![people(&[("b", 1)])], at_cursor(2)).await.unwrap();
    assert_eq!(scores(&lake, "orders", None).await.len(), 2);
    let expired = lake.expire(Period::days(1), Utc::now() + TimeDelta::days(2), &BTreeMap::new()).await.unwrap();
    assert_eq!(expired.files, 2);
    assert_eq!(scores(&lake, "orders", None).await.len(), 2);
}

#[tokio::test]
async fn rows_that_break_off_leave_the_table_and_the_folder_as_they_were() {
    let (_folder, lake) = lake();
    let schema = people(&[("a", 1)]).schema();
    lake.replace("segment", Arc::clone(&schema), stream(vec![people(&[("a", 1)])]), Commit::default()).await.unwrap();
    let broken = [Ok(people(&[("b", 2)])), Err(datafusion::error::DataFusionError::ResourcesExhausted("no memory".to_owned()))];
    let broken = Box::pin(RecordBatchStreamAdapter::new(Arc::clone(&schema), futures::stream::iter(broken)));
    let error = lake.replace("segment", schema, broken, Commit::default()).await.unwrap_err();
    assert!(error.source_error().is_some());
    assert_eq!(scores(&lake, "segment", None).await["a"], 1);
    assert_eq!(std::fs::read_dir(root(&lake).join("segment")).unwrap().count(), 2, "the log and one file");
}

#[tokio::test]
async fn columns_may_join_but_not_change() {
    let (_folder, lake) = lake();
    lake.merge("people", &key(), vec![people(&[("a", 1), ("b", 2)])], Commit::default()).await.unwrap();
    let wider = Schema::new(vec![
        Field::new("id", DataType::Utf8View, false),
        Field::new("score", DataType::Int64, true),
        Field::new("seen", DataType::Timestamp(TimeUnit::Millisecond, Some("+00:00".into())), true),
    ]);
    assert_eq!(lake.ensure("people", Arc::new(wider.clone())).await.unwrap(), 1);
    assert_eq!(lake.ensure("people", Arc::new(wider)).await.unwrap(), 1);
    assert_eq!(count(&lake, "people", "select count(*) from people where seen is null and score > 1").await, 1);
    let seen = batch(vec![
        ("seen", Arc::new(TimestampMicrosecondArray::from(vec![5]).with_timezone("UTC"))),
        ("id", Arc::new(StringViewArray::from(vec!["a"]))),
        ("note", Arc::new(NullArray::new(1))),
    ]);
    lake.merge("people", &key(), vec![seen], Commit::default()).await.unwrap();
    assert_eq!(count(&lake, "people", "select count(*) from people where seen is not null and id = 'a' and note is null").await, 1);
    let read = lake.read("people", None).await.unwrap();
    assert_eq!(read[0].column_by_name("seen").unwrap().as_primitive::<TimestampMicrosecondType>().value(0), 5);

    let other = Schema::new(vec![Field::new("score", DataType::Utf8, true)]);
    let error = lake.ensure("people", Arc::new(other)).await.unwrap_err();
    assert_eq!(error.to_string(), "column `score` of table `people` is Int64, and Utf8 cannot take its place");
    assert_eq!(error.exit(), Exit::Wrong);
    // `replace` may change anything.
    let other = batch(vec![("score", Arc::new(StringArray::from(vec!["high"])))]);
    lake.replace("people", other.schema(), stream(vec![other]), Commit::default()).await.unwrap();
    assert_eq!(lake.schema("people", None).await.unwrap().fields().len(), 1);
    assert_eq!(lake.schema("people", Some(0)).await.unwrap().fields().len(), 2);
}

fn everything() -> RecordBatch {
    let item = StructArray::from(vec![
        (Arc::new(Field::new("line", DataType::Int64, true)), Arc::new(Int64Array::from(vec![1, 2, 1])) as ArrayRef),
        (
            Arc::new(Field::new("price", DataType::Decimal128(18, 4), true)),
            Arc::new(Decimal128Array::from(vec![Some(12_3400), None, Some(-1)]).with_precision_and_scale(18, 4).unwrap()) as ArrayRef,
        ),
    ]);
    let lists = ListArray::new(
        Arc::new(Field::new("item", item.data_type().clone(), true)),
        OffsetBuffer::from_lengths([2, 0, 1]),
        Arc::new(item),
        Some(vec![true, false, true].into()),
    );
    batch(vec![
        ("id", Arc::new(StringArray::from(vec!["a", "b", "c"]))),
        ("items", Arc::new(lists)),
        ("total", Arc::new(Decimal128Array::from(vec![1, 2, 3]).with_precision_and_scale(18, 4).unwrap())),
        ("born", Arc::new(Date32Array::from(vec![Some(0), None, Some(20_000)]))),
        ("paid", Arc::new(BooleanArray::from(vec![Some(true), None, Some(false)]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![Some(1_000_001), None, Some(-1)]).with_timezone("UTC"))),
        ("n", Arc::new(UInt64Array::from(vec![1, 2, 3]))),
    ])
}

#[tokio::test]
async fn every_type_comes_back_as_it_went_in() {
    let (_folder, lake) = lake();
    let rows = everything();
    lake.merge("orders", &key(), vec![rows.slice(0, 2)], Commit::default()).await.unwrap();
    lake.merge("orders", &key(), vec![rows.slice(1, 2)], Commit::default()).await.unwrap();
    let expected = columns::conform("orders", &rows, &columns::storable("orders", rows.schema_ref()).unwrap()).unwrap();
    let read = lake.read("orders", None).await.unwrap();
    assert_eq!(arrow::compute::concat_batches(read[0].schema_ref(), &read).unwrap(), expected);
    let through_sql = query(&lake, "orders", "select * from orders order by id").await;
    assert_eq!(arrow::compute::concat_batches(through_sql[0].schema_ref(), &through_sql).unwrap(), expected);
    assert_eq!(count(&lake, "orders", "select count(*) from (select unnest(items) i from orders) where i['price'] is null").await, 1);
}

#[tokio::test]
async fn delta_lake_itself_reads_what_we_wrote() {
    let (_folder, lake) = lake();
    lake.merge("orders", &key(), vec![everything()], at_cursor(1)).await.unwrap();
    lake.merge("orders", &key(), vec![everything().slice(1, 1)], at_cursor(2)).await.unwrap();
    let table = log::delta(&lake.folder("orders").unwrap()).await;
    let context = SessionContext::new();
    context.register_table("orders", table.table_provider().await.unwrap()).unwrap();
    let sql = "select count(*), count(distinct id) from orders where at < '1970-01-01T00:00:02Z' or at is null";
    let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(rows[0].column(0).as_primitive::<Int64Type>().value(0), 3);
    assert_eq!(rows[0].column(1).as_primitive::<Int64Type>().value(0), 3);
}

#[tokio::test]
async fn no_value_but_instants_stands_in_the_log() {
    let (_folder, lake) = lake();
    let rows = batch(vec![
        ("id", Arc::new(StringArray::from(vec!["ada@fernwood.example"]))),
        ("first_name", Arc::new(StringArray::from(vec!["Ada"]))),
        ("at", Arc::new(TimestampMicrosecondArray::from(vec![1_000_001]).with_timezone("UTC"))),
    ]);
    lake.merge("people", &key(), vec![rows], Commit::default()).await.unwrap();
    let commit = std::fs::read_to_string(root(&lake).join("people/_delta_log").join(format!("{:020}.json", 0))).unwrap();
    assert!(!commit.contains("Ada") && !commit.contains("ada@"), "{commit}");
    assert!(commit.contains("1970-01-01T00:00:01.000001Z"), "{commit}");
}

#[tokio::test]
async fn an_empty_table_can_be_read() {
    let (_folder, lake) = lake();
    lake.ensure("orders", everything().schema()).await.unwrap();
    assert_eq!(lake.read("orders", None).await.unwrap().len(), 0);
    assert_eq!(count(&lake, "orders", "select count(*) from orders where id = 'a'").await, 0);
    assert_eq!(lake.tables().await.unwrap(), ["orders"]);
    assert_eq!(lake.latest("orders").await.unwrap(), Some(0));
    assert_eq!(lake.latest("nothing").await.unwrap(), None);
    let schema = people(&[("a", 1)]).schema();
    let empty = stream(vec![RecordBatch::new_empty(Arc::clone(&schema))]);
    assert_eq!(lake.replace("segment", schema, empty, Commit::default()).await.unwrap().rows, 0);
    assert_eq!(count(&lake, "segment", "select count(*) from segment").await, 0);
}

#[tokio::test]
async fn one_lease_at_a_time_and_none_where_writing_is_forbidden() {
    let (folder, lake) = lake();
    let lease = lake.write_lease().await.unwrap();
    let error = lake.write_lease().await.unwrap_err();
    assert!(matches!(error, LakeError::Busy));
    assert_eq!(error.exit(), Exit::Busy);
    drop(lease);
    lake.write_lease().await.unwrap();
    lake.ensure("orders", everything().schema()).await.unwrap();

    let settings = LakeSettings { read_only: true, ..LakeSettings::default() };
    let reader = Lake::open(folder.path(), &settings).unwrap();
    assert!(matches!(reader.write_lease().await, Err(LakeError::ReadOnly)));
    let error = reader.replace("orders", everything().schema(), stream(vec![everything()]), Commit::default()).await.unwrap_err();
    assert_eq!((error.exit(), error.diagnosis().code.as_str()), (Exit::Wrong, "lake_read_only"));
    assert_eq!(reader.read("orders", None).await.unwrap().len(), 0);
    let scratch = reader.scratch(&folder.path().join("data/scratch/x")).unwrap();
    scratch.ensure("orders", everything().schema()).await.unwrap();
}

#[tokio::test]
async fn a_folder_that_cannot_be_made_is_named() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("data"), "a file in the way").unwrap();
    let error = Lake::open(folder.path(), &LakeSettings::default()).unwrap_err();
    assert!(error.to_string().contains("data/lake"), "{error}");
    assert_eq!(error.exit(), Exit::Failed);
    assert!(error.diagnosis().hint.is_some());
}

#[tokio::test]
async fn what_no_table_can_hold_is_refused_with_its_column() {
    let (_folder, lake) = lake();
    for (column, data_type) in [("count(*)", DataType::Int64), ("t", DataType::Time64(TimeUnit::Microsecond))] {
        let schema = Arc::new(Schema::new(vec![Field::new(column, data_type, true)]));
        let error = lake.ensure("t", schema).await.unwrap_err();
        assert!(error.to_string().contains(column), "{error}");
    }
    let error = lake.merge("t", &["nope".to_owned()], vec![people(&[("a", 1)])], Commit::default()).await.unwrap_err();
    assert!(error.to_string().contains("`nope`"), "{error}");
    assert!(matches!(lake.latest("../t").await, Err(LakeError::Name(_))));
    assert!(matches!(lake.read("t", None).await, Err(LakeError::NoTable(_))));
}

#[tokio::test]
async fn keys_of_several_columns_nulls_and_long_texts_are_told_apart() {
    let (_folder, lake) = lake();
    let key = ["source".to_owned(), "line".to_owned()];
    // Longer than what Parquet keeps of a value in its statistics.
    let long = |end: &str| format!("{}{end}", "x".repeat(200));
    let rows = |value: i64, keys: &[(Option<String>, Option<i64>)]| {
        batch(vec![
            ("source", Arc::new(keys.iter().map(|key| key.0.clone()).collect::<StringArray>())),
            ("line", Arc::new(keys.iter().map(|key| key.1).collect::<Int64Array>())),
            ("value", Arc::new(Int64Array::from(vec![value; keys.len()]))),
        ])
    };
    let first = rows(1, &[(Some(long("a")), Some(1)), (Some(long("b")), Some(1)), (None, Some(1)), (Some(long("b")), None)]);
    lake.merge("items", &key, vec![first], Commit::default()).await.unwrap();
    let second = rows(2, &[(Some(long("b")), Some(1)), (None, Some(1)), (Some(long("c")), Some(1)), (Some(String::new()), Some(1))]);
    let written = lake.merge("items", &key, vec![second], Commit::default()).await.unwrap();
    assert_eq!((written.rows, written.inserted, written.updated), (6, 2, 2));
    assert_eq!(count(&lake, "items", "select sum(value) from items").await, 2 + 2 * 4);
    // By a number.
    let by_line = |line: i64| batch(vec![("line", Arc::new(Int64Array::from(vec![line])) as ArrayRef)]);
    for line in [5, -3, 5, 9] {
        lake.merge("lines", &key[1..], vec![by_line(line)], Commit::default()).await.unwrap();
    }
    assert_eq!(count(&lake, "lines", "select count(*) from lines").await, 3);
}

#[tokio::test]
async fn a_merge_leaves_files_without_its_keys_alone_and_keeps_the_order_in_the_others() {
    let (_folder, lake) = lake();
    for first in ["a", "m"] {
        let rows: Vec<(String, i64)> = (0..100).map(|n| (format!("{first}{n:03}"), n)).collect();
        let rows: Vec<(&str, i64)> = rows.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        lake.merge("people", &key(), vec![people(&rows)], Commit::default()).await.unwrap();
    }
    let names = |snapshot: Snapshot| snapshot.files.into_iter().map(|file| file.name).collect::<Vec<_>>();
    let before = names(lake.find("people", None).await.unwrap().unwrap());
    lake.merge("people", &key(), vec![people(&[("m050", -1)])], Commit::default()).await.unwrap();
    let after = names(lake.find("people", None).await.unwrap().unwrap());
    assert_eq!(after.len(), 2);
    assert_eq!(after[0], before[0], "the file of the others is the same");
    assert_ne!(after[1], before[1]);
    let rows = lake.read("people", None).await.unwrap();
    let ids: Vec<_> = rows.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    assert!(ids.is_sorted(), "clustered as before");
}

/// Rows of a shape with everything that is copied or encoded in its own way: a key of two columns, one of them an instant, texts that
/// repeat, nulls, a list and a struct.
fn visits(ids: &[i64], score: i64) -> RecordBatch {
    let instant = |id: i64| 1_700_000_000_000_000 + id * 1_000_000;
    let names = StringArray::from_iter_values(ids.iter().map(|id| format!("tag-{}", (id + score) % 7)));
    let offsets = OffsetBuffer::from_lengths(ids.iter().map(|_| 1));
    let tags = ListArray::new(Arc::new(Field::new("element", DataType::Utf8, true)), offsets, Arc::new(names.clone()), None);
    let parts: Vec<(Arc<Field>, ArrayRef)> = vec![
        (Arc::new(Field::new("name", DataType::Utf8, true)), Arc::new(names)),
        (Arc::new(Field::new("score", DataType::Int64, true)), Arc::new(Int64Array::from_iter_values(ids.iter().map(|id| id + score)))),
    ];
    batch(vec![
        (
            "seen",
            Arc::new(
                ids.iter()
                    .map(|id| (id % 3 != 0 || score != 0).then(|| instant(*id) + score))
                    .collect::<TimestampMicrosecondArray>()
                    .with_timezone("UTC"),
            ),
        ),
        ("id", Arc::new(StringArray::from_iter_values(ids.iter().map(|id| format!("visit-{id:08}"))))),
        ("score", Arc::new(Int64Array::from_iter_values(ids.iter().map(|_| score)))),
        ("tags", Arc::new(tags)),
        ("parts", Arc::new(StructArray::from(parts))),
        ("day", Arc::new(TimestampMicrosecondArray::from_iter_values(ids.iter().map(|id| instant(*id))).with_timezone("UTC"))),
    ])
}

#[tokio::test]
async fn what_a_merge_cannot_change_of_a_file_is_copied_as_it_lies() {
    const ROWS: i64 = 600_000;
    let (_folder, lake) = lake();
    let key = ["id".to_owned(), "day".to_owned()];
    let all: Vec<i64> = (0..ROWS).collect();
    lake.merge("visits", &key, vec![visits(&all, 0)], Commit::default()).await.unwrap();
    let changed: Vec<i64> = (300_000..300_100).chain([400_001]).collect();
    let written = lake.merge("visits", &key, vec![visits(&changed, 5)], Commit::default()).await.unwrap();
    assert_eq!((written.inserted, written.updated), (0, 101));

    let mut expected: BTreeMap<i64, i64> = all.iter().map(|id| (*id, 0)).collect();
    expected.extend(changed.iter().map(|id| (*id, 5)));
    let rows = lake.read("visits", None).await.unwrap();
    let rows = arrow::compute::concat_batches(&rows[0].schema(), &rows).unwrap();
    let whole: Vec<RecordBatch> = expected
        .iter()
        .map(|(id, score)| (id, *score))
        .collect::<Vec<_>>()
        .chunk_by(|a, b| a.1 == b.1)
        .map(|run| visits(&run.iter().map(|(id, _)| **id).collect::<Vec<_>>(), run[0].1))
        .collect();
    let whole = arrow::compute::concat_batches(&whole[0].schema(), &whole).unwrap();
    for (name, column) in whole.schema().fields().iter().map(|field| field.name()).zip(whole.columns()) {
        assert_eq!(rows.column_by_name(name).unwrap().as_ref(), column.as_ref(), "{name}");
    }

    // One file, its row groups as they were, each with its statistics and its pages' places.
    let files = async |version| lake.find("visits", version).await.unwrap().unwrap().files;
    let (before, after) = (files(Some(0)).await, files(None).await);
    assert_eq!((before.len(), after.len()), (1, 1));
    let metadata = |name: &str| {
        let file = std::fs::File::open(root(&lake).join("visits").join(name)).unwrap();
        let options = ArrowReaderOptions::new().with_page_index_policy(PageIndexPolicy::Required);
        Arc::clone(ArrowReaderMetadata::load(&file, options).unwrap().metadata())
    };
    let (before, after) = (metadata(&before[0].name), metadata(&after[0].name));
    assert_eq!((before.num_row_groups(), after.num_row_groups()), (3, 3));
    let chunk = |file: &ParquetMetaData, group: usize, column: usize| {
        let column = file.row_group(group).column(column).clone();
        (column.compressed_size(), column.statistics().cloned(), column.dictionary_page_offset().is_some(), column.num_values())
    };
    let (seen, id, score) = (0, 1, 2);
    for column in 0..before.row_group(0).num_columns() {
        assert_eq!(chunk(&before, 0, column), chunk(&after, 0, column), "nothing of the first row group is touched");
    }
    assert_eq!(chunk(&before, 1, id), chunk(&after, 1, id), "the key is the same");
    assert_ne!(chunk(&before, 1, score).1, chunk(&after, 1, score).1);
    assert_eq!(after.column_index().unwrap()[2].len(), before.column_index().unwrap()[2].len());
    assert_eq!(chunk(&before, 1, seen).2, chunk(&after, 1, seen).2, "a dictionary stays one");

    // What another reader finds by the statistics and the pages' ranges is all there.
    for (condition, rows) in [
        ("id = 'visit-00300007'", 1),
        ("id between 'visit-00262100' and 'visit-00262199'", 100),
        ("score = 5", 101),
        ("seen is null", 200_000 - 34),
        ("seen >= timestamp '2023-11-21T13:00:00Z' and id > 'visit-00599990'", 6),
        ("parts['score'] = 300012", 1),
    ] {
        assert_eq!(count(&lake, "visits", &format!("select count(*) from visits where {condition}")).await, rows, "{condition}");
    }
    let log = std::fs::read_to_string(root(&lake).join("visits/_delta_log/00000000000000000001.json")).unwrap();
    let added: serde_json::Value =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).find(|line: &serde_json::Value| line["add"].is_object()).unwrap();
    let stats: serde_json::Value = serde_json::from_str(added["add"]["stats"].as_str().unwrap()).unwrap();
    assert_eq!(stats["numRecords"], ROWS);
    assert_eq!(stats["nullCount"], json!({"seen": 200_000 - 34, "day": 0}));
    assert_eq!(stats["minValues"], json!({"seen": "2023-11-14T22:13:21.000000Z", "day": "2023-11-14T22:13:20.000000Z"}));
}

#[tokio::test]
async fn of_rows_pulled_together_the_newest_stays_in_whatever_order_they_come() {
    let (_folder, lake) = lake();
    let rows = |pulled: i64, rows: &[(&str, i64, i64)]| {
        batch(vec![
            ("id", Arc::new(rows.iter().map(|row| Some(row.0)).collect::<StringArray>()) as ArrayRef),
            ("score", Arc::new(rows.iter().map(|row| row.2).collect::<Int64Array>())),
            (
                "at",
                Arc::new(
                    rows.iter().map(|row| Some(row.1).filter(|at| *at > 0)).collect::<TimestampMicrosecondArray>().with_timezone("UTC"),
                ),
            ),
            ("pulled", Arc::new(TimestampMicrosecondArray::from(vec![pulled; rows.len()]).with_timezone("UTC"))),
        ])
    };
    let merge = |batches: Vec<RecordBatch>| {
        let newest = Some(Newest { by: "at".to_owned(), among: "pulled".to_owned() });
        let (lake, commit) = (lake.clone(), Commit { newest, ..Commit::default() });
        async move { lake.merge("people", &key(), batches, commit).await.unwrap() }
    };
    merge(vec![rows(1, &[("a", 5, 1), ("b", 5, 1), ("c", 5, 1)]), rows(1, &[("a", 4, 2), ("b", 5, 2), ("c", 6, 2)])]).await;
    let expected = |scores: &[(&str, i64)]| scores.iter().map(|(id, score)| ((*id).to_owned(), *score)).collect::<BTreeMap<_, _>>();
    assert_eq!(scores(&lake, "people", None).await, expected(&[("a", 1), ("b", 2), ("c", 2)]));
    merge(vec![rows(1, &[("a", 4, 3), ("b", 5, 3), ("c", 7, 3)])]).await;
    assert_eq!(scores(&lake, "people", None).await, expected(&[("a", 1), ("b", 3), ("c", 3)]));
    // What another pull brings is true now, also where the source has gone back in time; and a row without an age is as good as any.
    merge(vec![rows(2, &[("a", 1, 4), ("b", 0, 4)])]).await;
    assert_eq!(scores(&lake, "people", None).await, expected(&[("a", 4), ("b", 4), ("c", 3)]));
}

#[tokio::test]
async fn small_files_are_folded_into_one_that_is_sorted() {
    let (_folder, lake) = lake();
    let mut all = BTreeMap::new();
    for round in 0..10_i64 {
        // Ranges that lie within each other, one file much longer than a batch.
        let rows: Vec<(String, i64)> = (0..if round == 3 { 20_000 } else { 700 }).map(|n| (format!("{:06}", n * 10 + round), n)).collect();
        all.extend(rows.iter().cloned());
        let rows: Vec<(&str, i64)> = rows.iter().map(|(id, n)| (id.as_str(), *n)).collect();
        lake.merge("people", &key(), vec![people(&rows)], Commit::default()).await.unwrap();
    }
    assert_eq!(scores(&lake, "people", None).await, all);
    let files = lake.find("people", None).await.unwrap().unwrap().files;
    assert_eq!(files.len(), 2);
    let rows = lake.read("people", None).await.unwrap();
    let ids: Vec<_> = rows.iter().flat_map(|batch| batch.column(0).as_string::<i32>().iter().flatten()).collect();
    assert!(ids[..ids.len() - 700].is_sorted(), "as far as the folded file goes");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_merge_that_is_given_up_does_not_trip_the_next() {
    for patience in (0..40).map(|half| Duration::from_micros(half * 500)) {
        let (_folder, lake) = lake();
        let merge = async { lake.merge("people", &key(), vec![people(&[("a", 1)])], Commit::default()).await.unwrap() };
        let ended = tokio::time::timeout(patience, merge).await.is_ok();
        lake.merge("people", &key(), vec![people(&[("b", 2)])], Commit::default()).await.unwrap();
        let scores = scores(&lake, "people", None).await;
        assert!(scores["b"] == 2 && (!ended || scores["a"] == 1), "{scores:?}");
    }
}

#[tokio::test]
async fn two_merges_at_once_both_count() {
    let (_folder, lake) = lake();
    let merge = |id: &'static str| {
        let lake = lake.clone();
        tokio::spawn(async move { lake.merge("people", &key(), vec![people(&[(id, 1)])], Commit::default()).await.unwrap() })
    };
    let (a, b) = (merge("a"), merge("b"));
    a.await.unwrap();
    b.await.unwrap();
    assert_eq!(scores(&lake, "people", None).await.len(), 2);
}
