//! The lake in a bucket, against a server that speaks S3 and keeps the conditions of writes.

use std::{collections::BTreeMap, path::Path, sync::Arc, time::Duration};

use arrow::{
    array::{AsArray, Int64Array, RecordBatch, StringArray},
    datatypes::Int64Type,
};
use axum::http::{Method, StatusCode, header};
use bytes::Bytes;
use chrono::{TimeDelta, Utc};
use datafusion::{physical_plan::stream::RecordBatchStreamAdapter, prelude::SessionContext};
use serde_json::json;

use super::{files::FileWriter, folder::LOG, server::Moto, *};
use crate::diagnosis::{Diagnose, Exit};

const SECRET: &str = "wJalrXUtnFEMI";

/// A project whose lake lies in a bucket.
struct Far {
    _project: tempfile::TempDir,
    lake: Lake,
}

fn far(settings: &str) -> Far {
    let project = tempfile::tempdir().unwrap();
    std::fs::write(project.path().join("id"), "AKIATHATSME").unwrap();
    std::fs::write(project.path().join("secret"), SECRET).unwrap();
    let settings = crate::config::parse(settings, Path::new("perennial.toml")).unwrap();
    let mut lake = Lake::open(project.path(), &settings).unwrap();
    lake.rhythm = Rhythm { sign: Duration::from_millis(300), gone: Duration::from_millis(1500) };
    Far { _project: project, lake }
}

fn at(moto: &Moto) -> Far {
    far(&format!("path = \"s3://shop/lakes/main\"\n{}", moto.settings()))
}

fn people(rows: &[(&str, i64)]) -> RecordBatch {
    RecordBatch::try_from_iter_with_nullable([
        ("id", Arc::new(StringArray::from_iter_values(rows.iter().map(|row| row.0))) as arrow::array::ArrayRef, true),
        ("score", Arc::new(Int64Array::from_iter_values(rows.iter().map(|row| row.1))), true),
    ])
    .unwrap()
}

fn key() -> Vec<String> {
    vec!["id".to_owned()]
}

fn at_cursor(cursor: i64) -> Commit {
    Commit { run: Some("run".to_owned()), cursor: Some(json!(cursor)), ..Commit::default() }
}

fn stream_of(rows: RecordBatch) -> SendableRecordBatchStream {
    Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream::iter([Ok(rows)])))
}

async fn scores(lake: &Lake, version: Option<i64>) -> BTreeMap<String, i64> {
    let mut scores = BTreeMap::new();
    for batch in lake.read("people", version).await.unwrap() {
        let (ids, values) = (batch.column(0).as_string::<i32>(), batch.column(1).as_primitive::<Int64Type>());
        for (id, value) in ids.iter().zip(values.iter()) {
            assert!(scores.insert(id.unwrap().to_owned(), value.unwrap()).is_none(), "{id:?} stands twice");
        }
    }
    scores
}

fn bucket(lake: &Lake) -> &Arc<bucket::Bucket> {
    match &lake.root {
        Root::Bucket(bucket) => bucket,
        Root::Disk(_) => panic!("the lake lies on a disk"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn tables_in_a_bucket_are_merged_replaced_read_queried_and_expired() {
    let Some(moto) = Moto::start(false).await else { return };
    let far = at(&moto);
    let lake = &far.lake;
    assert_eq!(lake.tables().await.unwrap(), Vec::<String>::new());
    assert_eq!(lake.latest("people").await.unwrap(), None);
    let many: Vec<(String, i64)> = (0..20_000).map(|id| (format!("{id:05}"), id)).collect();
    let many: Vec<(&str, i64)> = many.iter().map(|(id, score)| (id.as_str(), *score)).collect();
    assert_eq!(lake.merge("people", &key(), vec![people(&many)], at_cursor(1)).await.unwrap().inserted, 20_000);
    let written = lake.merge("people", &key(), vec![people(&[("00007", -7), ("new", 1)])], at_cursor(2)).await.unwrap();
    assert_eq!((written.rows, written.inserted, written.updated), (20_001, 1, 1));
    assert_eq!(lake.cursor("people").await.unwrap(), Some(json!(2)));
    assert_eq!((scores(lake, None).await["00007"], scores(lake, Some(0)).await["00007"]), (-7, 7));

    let context = SessionContext::new();
    context.register_table("now", lake.provider("people", None).await.unwrap()).unwrap();
    context.register_table("before", lake.provider("people", Some(0)).await.unwrap()).unwrap();
    // Beside a table on a disk, as in a replay.
    let folder = tempfile::tempdir().unwrap();
    let near = lake.scratch(folder.path()).unwrap();
    near.merge("marks", &key(), vec![people(&[("00007", 1)])], Commit::default()).await.unwrap();
    context.register_table("marks", near.provider("marks", None).await.unwrap()).unwrap();
    let sql = "select sum(now.score - before.score) from now join before using (id) join marks using (id)";
    let answer = context.sql(sql).await.unwrap().collect().await.unwrap();
    assert_eq!(answer[0].column(0).as_primitive::<Int64Type>().value(0), -14);

    lake.replace("people", people(&[]).schema(), stream_of(people(&[("only", 1)])), Commit::default()).await.unwrap();
    let (rows, written) = lake.append("people");
    rows.rows().send(people(&[("more", 2)])).await.unwrap();
    rows.commit(Commit::default());
    assert_eq!(written.await.unwrap().unwrap().inserted, 1);
    assert_eq!(scores(lake, None).await.len(), 2);
    assert_eq!(lake.tables().await.unwrap(), ["people"]);
    let later = Utc::now() + TimeDelta::days(31);
    let pinned = BTreeMap::from([("people".to_owned(), vec![0])]);
    let expired = lake.expire(Period::days(30), later, &pinned).await.unwrap();
    assert_eq!(expired.files, 2, "the file of version 1 that was written anew, and the one behind it");
    assert_eq!((scores(lake, None).await.len(), scores(lake, Some(0)).await.len()), (2, 20_000));
    assert!(matches!(lake.read("people", Some(1)).await, Err(LakeError::NoVersion { .. })));
    assert!(matches!(lake.provider("people", Some(1)).await, Err(LakeError::NoVersion { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_log_in_a_bucket_is_summarised_and_small_files_are_folded() {
    let Some(moto) = Moto::start(false).await else { return };
    let far = at(&moto);
    for round in 0..52 {
        far.lake.merge("people", &key(), vec![people(&[(&format!("{:02}", 99 - round), round)])], at_cursor(round)).await.unwrap();
    }
    let log = bucket(&far.lake).table("people").join(LOG);
    let names: Vec<String> = bucket(&far.lake).list(&log).await.unwrap().into_iter().map(|(name, ..)| name).collect();
    assert!(names.contains(&format!("{:020}.checkpoint.parquet", 50)), "{names:?}");
    let again = at(&moto);
    assert_eq!(again.lake.cursor("people").await.unwrap(), Some(json!(51)));
    assert_eq!(scores(&again.lake, None).await.len(), 52);
    assert!(again.lake.find("people", None).await.unwrap().unwrap().files.len() <= 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_at_once_each_wins_a_version_or_is_told_so() {
    let Some(moto) = Moto::start(false).await else { return };
    at(&moto).lake.ensure("people", people(&[]).schema()).await.unwrap();
    // Lakes of their own: nothing in this process keeps them apart.
    let writers = (0..8).map(|writer| {
        let far = at(&moto);
        tokio::spawn(async move {
            let id = format!("w{writer}");
            far.lake.merge("people", &key(), vec![people(&[(&id, writer)])], at_cursor(writer)).await.map(|written| (id, written.version))
        })
    });
    let mut won = BTreeMap::new();
    let mut lost = 0;
    for outcome in futures::future::join_all(writers).await {
        match outcome.unwrap() {
            Ok((id, version)) => assert!(won.insert(version, id).is_none(), "version {version} was won twice"),
            Err(LakeError::Conflict(_)) => lost += 1,
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(won.len() + lost, 8);
    assert!(lost > 0, "they did not meet");
    let there: Vec<String> = scores(&at(&moto).lake, None).await.into_keys().collect();
    let mut expected: Vec<String> = won.into_values().collect();
    expected.sort();
    assert_eq!(there, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_whose_answer_got_lost_is_known_again_and_another_is_not() {
    let Some(moto) = Moto::start(false).await else { return };
    let far = at(&moto);
    let key = bucket(&far.lake).table("people").join("commit");
    for _ in 0..2 {
        bucket(&far.lake).publish("people", &key, Bytes::from_static(b"ours")).await.unwrap();
    }
    let error = bucket(&far.lake).publish("people", &key, Bytes::from_static(b"theirs")).await.unwrap_err();
    assert!(matches!(error, LakeError::Conflict(_)), "{error}");
    assert_eq!(bucket(&far.lake).read(&key).await.unwrap(), "ours");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_between_data_and_commit_leaves_what_tidy_removes() {
    let Some(moto) = Moto::start(false).await else { return };
    let far = at(&moto);
    let lake = &far.lake;
    lake.merge("people", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap();
    let (folder, rows) = (lake.folder("people").unwrap(), people(&[("b", 2)]));
    tokio::task::spawn_blocking(move || {
        let staging = Staging::new(&folder, "people", 1).unwrap();
        let mut writer = FileWriter::new(&staging, &rows.schema());
        writer.write(&rows).unwrap();
        assert_eq!(writer.finish().unwrap().len(), 1);
        // The process ends here, before the commit.
        staging.keep();
    })
    .await
    .unwrap();
    assert_eq!(scores(lake, None).await, BTreeMap::from([("a".to_owned(), 1)]));
    lake.merge("people", &key(), vec![people(&[("c", 3)])], at_cursor(2)).await.unwrap();
    assert_eq!(lake.expire(Period::days(1), Utc::now(), &BTreeMap::new()).await.unwrap().files, 0, "it may belong to a write under way");
    let expired = lake.expire(Period::days(1), Utc::now() + TimeDelta::days(2), &BTreeMap::new()).await.unwrap();
    assert_eq!(expired.files, 1);
    assert_eq!(scores(lake, None).await, BTreeMap::from([("a".to_owned(), 1), ("c".to_owned(), 3)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_break_off_leave_the_bucket_as_it_was() {
    let Some(moto) = Moto::start(false).await else { return };
    let far = at(&moto);
    let rows = people(&[("a", 1)]);
    far.lake.replace("people", rows.schema(), stream_of(rows.clone()), Commit::default()).await.unwrap();
    let broken = [Ok(rows.clone()), Err(datafusion::error::DataFusionError::ResourcesExhausted("no memory".to_owned()))];
    let broken = Box::pin(RecordBatchStreamAdapter::new(rows.schema(), stream::iter(broken)));
    let error = far.lake.replace("people", rows.schema(), broken, Commit::default()).await.unwrap_err();
    assert!(error.source_error().is_some());
    let folder = far.lake.folder("people").unwrap();
    for _ in 0..100 {
        if folder.files().await.unwrap().len() == 1 {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{:?}", folder.files().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_lease_at_a_time_in_a_bucket_and_a_dead_ones_is_taken_over() {
    let Some(moto) = Moto::start(false).await else { return };
    let (one, other) = (at(&moto), at(&moto));
    let lease = one.lake.write_lease().await.unwrap();
    let error = other.lake.write_lease().await.unwrap_err();
    assert!(matches!(error, LakeError::Busy), "{error}");
    assert_eq!(error.exit(), Exit::Busy);
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert!(matches!(other.lake.write_lease().await, Err(LakeError::Busy)), "signs are given for as long as it lives");
    drop(lease);
    let started = std::time::Instant::now();
    drop(other.lake.write_lease().await.unwrap());
    assert!(started.elapsed() < Duration::from_secs(1), "one that was given back is free at once");

    moto.put("lakes/main/.writer.lock", b"{\"holder\": \"killed\"}").await;
    let started = std::time::Instant::now();
    let lease = one.lake.write_lease().await.unwrap();
    assert!(started.elapsed() >= Duration::from_millis(1500));

    // Whoever finds another in its place writes no more, and leaves the other's lease alone.
    one.lake.ensure("people", people(&[]).schema()).await.unwrap();
    moto.put("lakes/main/.writer.lock", b"{\"holder\": \"another\"}").await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    let error = one.lake.merge("people", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap_err();
    assert!(matches!(error, LakeError::Busy), "{error}");
    drop(lease);
    assert_eq!(bucket(&other.lake).read(&bucket(&other.lake).table(".writer.lock")).await.unwrap(), "{\"holder\": \"another\"}");
    drop(one.lake.write_lease().await.unwrap());
    one.lake.merge("people", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap();
}

/// A store that answers every write with yes.
#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_keeps_no_conditions_is_refused() {
    async fn yes(method: Method) -> axum::response::Response {
        let status = if method == Method::DELETE { StatusCode::NO_CONTENT } else { StatusCode::OK };
        axum::response::Response::builder().status(status).header(header::ETAG, "\"1\"").body(axum::body::Body::empty()).unwrap()
    }
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, axum::Router::new().fallback(yes)).await });
    let far = far(&format!(
        "path = \"s3://shop/lake\"\n[store]\nendpoint = \"http://{address}\"\nallow_http = true\n\
         access_key_id = {{ file = \"id\" }}\nsecret_access_key = {{ file = \"secret\" }}\n"
    ));
    let told = far.lake.write_lease().await.unwrap_err().diagnosis();
    assert_eq!(told.message, "s3://shop/lake/.writer.lock writes over what is there although it was told not to");
    assert!(told.hint.unwrap().contains("If-None-Match"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bucket_that_cannot_be_reached_says_which_and_no_secret() {
    let Some(moto) = Moto::start(false).await else { return };
    let nowhere = far(&format!("path = \"s3://elsewhere/lake\"\n{}", moto.settings()));
    for error in [nowhere.lake.tables().await.unwrap_err(), nowhere.lake.write_lease().await.unwrap_err()] {
        let told = error.diagnosis();
        assert!(told.message.starts_with("s3://elsewhere/lake") && told.message.ends_with("is not there (NoSuchBucket)"), "{told:?}");
        assert_eq!((told.code.as_str(), error.exit()), ("lake_store", Exit::Failed));
    }
    let Some(strict) = Moto::start(true).await else { return };
    let refused = at(&strict);
    let error = refused.lake.merge("people", &key(), vec![people(&[("a", 1)])], at_cursor(1)).await.unwrap_err();
    let words = format!("{:?}", error.diagnosis());
    assert!(words.contains("may not be read or written (InvalidAccessKeyId)") && words.contains("[lake.store]"), "{words}");
    assert!(!words.contains(SECRET) && !words.contains("AKIATHATSME"), "{words}");

    let settings = format!("path = \"s3://shop/lake\"\nread_only = true\n{}", moto.settings());
    assert!(matches!(far(&settings).lake.write_lease().await, Err(LakeError::ReadOnly)));
    let settings: LakeSettings = crate::config::parse(&settings, Path::new("perennial.toml")).unwrap();
    let error = Lake::open(&std::env::temp_dir().join("nothing-here"), &settings).unwrap_err();
    assert_eq!((error.diagnosis().code.as_str(), error.exit()), ("secret", Exit::Wrong));
}
