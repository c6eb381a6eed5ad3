//! Looks at segments over a real lake.

use crate::model::fixture::Project;

#[tokio::test]
async fn a_segment_is_previewed_without_writing_and_compared_with_the_published_one() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build(0).await;
    project.write(
        "segments/lapsed",
        "/* ---\nkey = 'customer_id'\n--- */\nselect f.customer_id, -- who\n  f.total from features f where f.customer_id <> 'crm:a'",
    );
    let library = project.library();
    let versions = project.lake.latest("lapsed").await.unwrap();
    let shown = project.bench(&library, &built).preview("lapsed", 1).await.unwrap();
    assert_eq!((shown.rows, shown.sample[0].num_rows()), (2, 1));
    let change = shown.change.unwrap();
    assert_eq!((change.entered, change.left, change.stayed), (vec!["shop:2".to_owned()], vec!["crm:a".to_owned()], 1));
    assert_eq!(shown.columns[0].description.as_deref(), Some("who"));
    assert_eq!(shown.columns[0].values, [("shop:2".to_owned(), 1), ("shop:9".to_owned(), 1)]);
    assert_eq!((shown.columns[1].histogram.first(), shown.columns[1].histogram.last()), (Some(&1), Some(&1)));
    assert_eq!(shown.columns[1].histogram.iter().sum::<u64>(), 2);
    assert_eq!(
        (shown.columns[1].min.as_deref(), shown.columns[1].max.as_deref(), shown.columns[1].distinct),
        (Some("1.0000"), Some("9.0000"), 2)
    );
    assert_eq!(project.lake.latest("lapsed").await.unwrap(), versions);
}

#[tokio::test]
async fn a_segment_is_compared_with_what_other_files_make_of_the_same_tables() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build(0).await;
    let earlier = project.library();
    let library = earlier.clone();
    let same = project.bench(&library, &built).against(&earlier, "lapsed").await.unwrap();
    assert_eq!((same.stayed, same.changed, same.entered.len(), same.left.len()), (2, 0, 0, 0));
    // The model under it is another, and the segment returns other columns.
    project.write(
        "models/features",
        "/* ---\nkey = 'customer_id'\n--- */\nselect customer_id, count(*) + 1 as orders, max(ordered_at) as last_order_at\n\
         from orders where customer_id <> 'shop:9' group by customer_id",
    );
    let library = project.library();
    let model = project.bench(&library, &built).against(&earlier, "lapsed").await.unwrap();
    assert_eq!((model.left.as_slice(), model.stayed, model.changed), (&["shop:9".to_owned()][..], 1, 1));
    let row = &model.rows[0];
    assert_eq!((row.customer_id.as_str(), &row.columns["orders"]), ("crm:a", &(Some("1".to_owned()), Some("2".to_owned()))));
    let published = project.bench(&library, &built).against_published("lapsed").await.unwrap();
    assert_eq!((published.left.len(), published.changed), (0, 0), "models are as they were last built");
    project.write(
        "segments/lapsed",
        "/* ---\nkey = 'customer_id'\nparams = { quiet = 20 }\n--- */\nselect customer_id, orders, 'x' as word from features \
         where days_between(last_order_at, $as_of) > $quiet",
    );
    let library = project.library();
    let columns = project.bench(&library, &built).against_published("lapsed").await.unwrap();
    assert_eq!((columns.new_columns.as_slice(), columns.gone_columns.as_slice()), (&["word".to_owned()][..], &["email".to_owned()][..]));
    let mut bench = project.bench(&library, &built);
    bench.params.insert("quiet".to_owned(), datafusion::scalar::ScalarValue::Int64(Some(0)));
    assert_eq!(bench.against_published("lapsed").await.unwrap().entered, ["shop:2"]);
}

#[tokio::test]
async fn audits_are_run_on_what_was_built_unless_the_file_is_another_by_now() {
    let project = Project::new().await;
    project.people().await;
    let built = project.build(0).await;
    let report = async |table: &str| {
        let library = project.library();
        let reports = project.bench(&library, &built).audits(Some(table)).await.unwrap();
        let report = reports.into_iter().find(|report| report.table == table).unwrap();
        (report.outdated, report.failed.map(|told| (told.code, told.line)))
    };
    assert_eq!(report("lapsed").await, (false, None));
    assert_eq!(report("customers").await, (false, None), "the program's own tables have keys");
    let features = |audits: &str, columns: &str| {
        let front = format!("/* ---\nkey = 'customer_id'\naudits = [{audits}]\n--- */\n");
        project
            .write("models/features", format!("{front}select customer_id, count(*) as orders{columns} from orders group by customer_id"));
    };
    features("'rows(0, 1)'", "");
    assert_eq!(report("features").await, (false, Some(("audit".to_owned(), Some(3)))));
    features("'not_null(size)'", ", 1 as size");
    assert_eq!(report("features").await, (true, None), "the table has no such column yet");
    features("'select size from features where size > 1'", ", 1 as size");
    assert_eq!(report("features").await.1.unwrap().0, "sql_unknown_column");
}
