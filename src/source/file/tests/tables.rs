//! Delta tables that other programs write, read by a source.

use arrow::{
    array::{ArrayRef, Decimal128Array, Int64Array, StringArray, TimestampMicrosecondArray},
    datatypes::{Int64Type, TimestampMicrosecondType},
};
use datafusion::prelude::{col, lit};
use deltalake::{DeltaTable, protocol::SaveMode};
use url::Url;

use super::*;

const STREAM: &str = "path = \"in/orders\"\nformat = \"delta\"\nmode = \"merge\"\nnew_files_only = true";

fn people(rows: &[(&str, &str)]) -> RecordBatch {
    let texts = |pick: fn(&(&str, &str)) -> String| Arc::new(rows.iter().map(|row| Some(pick(row))).collect::<StringArray>()) as ArrayRef;
    RecordBatch::try_from_iter_with_nullable([
        ("id", texts(|row| row.0.to_owned()), true),
        ("name", texts(|row| row.1.to_owned()), true),
        ("left_out", Arc::new(Int64Array::from(vec![7; rows.len()])) as ArrayRef, true),
    ])
    .unwrap()
}

/// The table at `in/orders` of a project, as another program has it open.
async fn table(project: &Project) -> DeltaTable {
    let folder = project.folder.path().join("in/orders");
    std::fs::create_dir_all(&folder).unwrap();
    DeltaTable::try_from_url(Url::from_directory_path(folder).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_delta_table_is_read_and_then_only_what_was_added() {
    let project = Project::new(&settings("", STREAM)).await;
    let told = project.failure().await;
    assert_eq!(told.message, "till.orders: there is no Delta table `in/orders`");
    assert_eq!(project.source.check(project.folder.path()).len(), 1);
    table(&project).await.write([people(&[("1", "Ada"), ("2", "Bob")])]).await.unwrap();
    assert_eq!((project.source.check(project.folder.path()), project.probe().await), (vec![], vec![]));
    assert_eq!(project.pull().await.rows, 2);
    let quiet = project.pull().await;
    assert_eq!((quiet.rows, quiet.requests), (0, 0), "nothing new was committed");

    table(&project).await.write([people(&[("3", "Cem")])]).await.unwrap();
    table(&project).await.write([people(&[("4", "Dan")])]).await.unwrap();
    let added = project.pull().await;
    assert_eq!((added.rows, added.requests), (2, 2), "two files were added");
    // Somebody changes a row: files are taken away, and everything is read.
    let (_, metrics) = table(&project).await.update().with_predicate(col("id").eq(lit("2"))).with_update("name", lit("Bea")).await.unwrap();
    assert_eq!(metrics.num_updated_rows, 1);
    assert_eq!(project.pull().await.rows, 4);
    assert_eq!(project.names().await, named(&[("1", "Ada"), ("2", "Bea"), ("3", "Cem"), ("4", "Dan")]));
    assert_eq!(project.pull().await.rows, 0);
    assert_eq!(project.pull_all(true).await.unwrap().rows, 4, "all of it where that is asked");

    // Another table in its place, with as many versions and more.
    std::fs::remove_dir_all(project.folder.path().join("in/orders")).unwrap();
    for id in ["5", "6", "7", "8", "9"] {
        table(&project).await.write([people(&[(id, "New")])]).await.unwrap();
    }
    assert_eq!(project.pull().await.rows, 5);
}

#[tokio::test]
async fn a_delta_table_that_is_replaced_is_read_whole_with_its_partitions_and_types() {
    let text = "kind = \"file\"\n[streams.orders]\npath = \"in/orders\"\nformat = \"delta\"\n[streams.orders.columns]\n\
         id = \"text\"\ntotal = \"decimal(18,4)\"\nat = { from = \"made\", type = \"timestamp\", zone = \"Europe/Berlin\" }\n\
         region = \"text\"\nweek = \"integer\"\n";
    let project = Project::new(text).await;
    let orders = |id: &str, region: &str, total: i128| {
        RecordBatch::try_from_iter_with_nullable([
            ("id", Arc::new(StringArray::from(vec![id])) as ArrayRef, true),
            ("total", Arc::new(Decimal128Array::from(vec![total]).with_precision_and_scale(10, 2).unwrap()), true),
            ("made", Arc::new(TimestampMicrosecondArray::from(vec![1_767_225_600_000_000])), true),
            ("region", Arc::new(StringArray::from(vec![region])), true),
            ("week", Arc::new(Int64Array::from(vec![i64::try_from(total).unwrap()])), true),
        ])
        .unwrap()
    };
    let first = table(&project).await.write([orders("1", "south", 1250)]).with_partition_columns(["region", "week"]).await.unwrap();
    first.write([orders("2", "north west", 99)]).await.unwrap();
    assert_eq!(project.pull().await.rows, 2);
    let rows = project.rows().await;
    let of = |id: &str| (0..2).find(|row| rows.column(0).as_string::<i32>().value(*row) == id).unwrap();
    let (one, two) = (of("1"), of("2"));
    assert_eq!(rows.column(1).as_primitive::<arrow::datatypes::Decimal128Type>().value(one), 125_000);
    let midnight = chrono::DateTime::parse_from_rfc3339("2026-01-01T00:00:00+01:00").unwrap();
    assert_eq!(rows.column(2).as_primitive::<TimestampMicrosecondType>().value(one), midnight.timestamp_micros());
    assert_eq!(rows.column(3).as_string::<i32>().value(two), "north west");
    assert_eq!(rows.column(4).as_primitive::<Int64Type>().value(two), 99);
    table(&project).await.write([orders("3", "east", 5)]).with_save_mode(SaveMode::Overwrite).await.unwrap();
    project.pull().await;
    assert_eq!(project.rows().await.num_rows(), 1);
}

#[tokio::test]
async fn a_delta_table_that_cannot_be_read_says_why() {
    let project = Project::new(&settings("", STREAM).replace("name = \"text\"", "nme = \"text\"")).await;
    table(&project).await.write([people(&[("1", "Ada")])]).await.unwrap();
    let told = project.failure().await;
    assert_eq!(told.message, "till.orders: the table holds no column `nme`");
    assert_eq!((told.hint.as_deref(), told.file.as_deref()), (Some("did you mean `name`?"), Some(Path::new("in/orders"))));

    let project = Project::new(&settings("", STREAM).replace("name = \"text\"", "name = \"integer\"")).await;
    table(&project).await.write([people(&[("1", "Ada")])]).await.unwrap();
    let told = project.failure().await;
    assert!(told.message.contains("`name`") && told.message.contains("is not a number"), "{told:?}");

    // A feature nobody here has heard of.
    let project = Project::new(&settings("", STREAM)).await;
    table(&project).await.write([people(&[("1", "Ada")])]).await.unwrap();
    let commit = project.folder.path().join("in/orders/_delta_log").join(format!("{:020}.json", 0));
    let text = std::fs::read_to_string(&commit).unwrap();
    let rest = text.lines().filter(|line| !line.contains("\"protocol\"")).collect::<Vec<_>>().join("\n");
    let protocol = "{\"protocol\":{\"minReaderVersion\":3,\"minWriterVersion\":7,\"readerFeatures\":[\"telepathy\"],\"writerFeatures\":[\"telepathy\"]}}";
    std::fs::write(&commit, format!("{protocol}\n{rest}\n")).unwrap();
    let told = project.failure().await;
    assert!(told.message.starts_with("till.orders: the Delta table `in/orders` cannot be read: "), "{told:?}");
    assert!(told.message.contains("telepathy"), "{told:?}");

    let mut file = std::fs::read_dir(project.folder.path().join("in/orders")).unwrap().map(|entry| entry.unwrap().path());
    let file = file.find(|path| path.extension().is_some_and(|ending| ending == "parquet")).unwrap();
    std::fs::write(&commit, text).unwrap();
    std::fs::remove_file(file).unwrap();
    let told = project.failure().await;
    assert!(told.message.starts_with("till.orders: the Delta table `in/orders` cannot be read: "), "{told:?}");

    for (stream, words) in [
        ("path = \"in/*\"\nformat = \"delta\"", "is no folder of a Delta table"),
        ("path = \"https://h/orders\"\nformat = \"delta\"", "is no folder of a Delta table"),
        ("path = \"in/orders\"\nformat = \"delta\"\nfile_name = \"file\"", "says nothing"),
    ] {
        let error = Source::parse("till", Path::new("till.toml"), &settings("", stream)).unwrap_err();
        assert!(error.0.message.contains(words), "{:?}", error.0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delta_table_in_a_bucket_is_read_like_one_in_a_folder() {
    let Some(moto) = Moto::start(false).await else { return };
    let stream = STREAM.replace("in/orders", "s3://shop/tables/orders");
    let project = Project::new(&settings(&moto.settings(), &stream)).await;
    for told in [project.failure().await, project.probe().await.remove(0)] {
        assert_eq!(told.message, "till.orders: there is no Delta table `s3://shop/tables/orders`");
    }
    let open = || async {
        let mut table = crate::lake::store::delta(&moto.store(), "s3://shop/tables/orders/").unwrap();
        let _ = table.load().await;
        table
    };
    open().await.write([people(&[("1", "Ada")])]).await.unwrap();
    assert_eq!((project.probe().await, project.pull().await.rows), (vec![], 1));
    open().await.write([people(&[("2", "Bob")])]).await.unwrap();
    let added = project.pull().await;
    assert_eq!((added.rows, added.requests, project.pull().await.rows), (1, 1, 0));
    assert_eq!(project.names().await, named(&[("1", "Ada"), ("2", "Bob")]));
    let nowhere = Project::new(&settings(&moto.settings(), &stream.replace("shop", "elsewhere"))).await;
    assert_eq!(nowhere.failure().await.message, "till.orders: s3://elsewhere/tables/orders is not there (NoSuchBucket)");
}
