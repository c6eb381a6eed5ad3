//! A table that was written in order gives the same rows however it is cut, and nothing is sorted or sent around again.

use arrow::{
    array::{AsArray, Int64Array, StringArray},
    datatypes::Int64Type,
};
use datafusion::{
    physical_plan::stream::RecordBatchStreamAdapter,
    prelude::{SessionConfig, SessionContext},
};
use proptest::prelude::*;

use super::*;

/// How many rows each person has, in the order of their ids, and how many rows are nobody's.
#[derive(Debug, Clone)]
struct People {
    rows: Vec<usize>,
    nobody: usize,
}

impl People {
    fn batch(&self, people: std::ops::Range<usize>, nobody: usize) -> RecordBatch {
        let ids = people.clone().flat_map(|person| std::iter::repeat_n(Some(format!("p{person:06}")), self.rows[person]));
        let ids: StringArray = ids.chain(std::iter::repeat_n(None, nobody)).collect();
        let numbers = people.flat_map(|person| 0..self.rows[person]).chain(0..nobody);
        let numbers: Int64Array = numbers.map(|number| i64::try_from(number).unwrap()).collect();
        RecordBatch::try_from_iter_with_nullable([("id", Arc::new(ids) as _, true), ("number", Arc::new(numbers) as _, true)]).unwrap()
    }

    /// Written by several at once, in batches of some hundred rows.
    async fn write(&self, lake: &Lake, table: &str, writers: usize) {
        let all = self.rows.len();
        let parts = (0..writers).map(|writer| {
            let nobody = if writer + 1 == writers { self.nobody } else { 0 };
            let rows = self.batch(all * writer / writers..all * (writer + 1) / writers, nobody);
            let batches: Vec<_> =
                (0..rows.num_rows()).step_by(700).map(|row| Ok(rows.slice(row, 700.min(rows.num_rows() - row)))).collect();
            Box::pin(RecordBatchStreamAdapter::new(rows.schema(), futures::stream::iter(batches))) as SendableRecordBatchStream
        });
        let commit = Commit { sorted: vec!["id".to_owned(), "number".to_owned()], ..Commit::default() };
        lake.replace_in_parts(table, self.batch(0..0, 0).schema(), parts.collect(), commit).await.unwrap();
    }
}

fn people() -> impl Strategy<Value = People> {
    let few = prop::collection::vec(1_usize..60, 1_500..2_500);
    let some = prop::collection::vec(prop_oneof![8 => 0_usize..30, 1 => 5_000_usize..9_000], 30..60);
    let one = (60_000_usize..70_000).prop_map(|rows| vec![rows]);
    let rows = prop_oneof![4 => few, 3 => some, 1 => one];
    (rows, prop_oneof![Just(0), 1_usize..9, Just(50_000)]).prop_map(|(rows, nobody)| People { rows, nobody })
}

fn context(partitions: usize) -> SessionContext {
    let mut config = SessionConfig::new().with_target_partitions(partitions);
    config.options_mut().optimizer.subset_repartition_threshold = 1;
    SessionContext::new_with_config(config)
}

async fn numbers(context: &SessionContext, sql: &str) -> Vec<i64> {
    let rows = context.sql(sql).await.unwrap().collect().await.unwrap();
    let row = rows.iter().find(|batch| batch.num_rows() > 0).unwrap();
    (0..row.num_columns()).map(|column| row.column(column).as_primitive::<Int64Type>().value(0)).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn every_cut_gives_the_same_rows(people in people(), writers in 1_usize..4, partitions in 1_usize..6) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        runtime.block_on(async {
            let folder = tempfile::tempdir().unwrap();
            let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
            people.write(&lake, "t", writers).await;
            // Another table of the same people, cut at the same values where that suits it.
            let others = People { rows: people.rows.iter().map(|rows| rows.div_ceil(2)).collect(), nobody: 3 };
            others.write(&lake, "u", 1).await;
            let context = context(partitions);
            for table in ["t", "u"] {
                context.register_table(table, lake.provider(table, None).await.unwrap()).unwrap();
            }
            let whole = |number: usize| i64::try_from(number).unwrap();
            let (rows, known) = (people.rows.iter().sum::<usize>(), people.rows.iter().filter(|rows| **rows > 0).count());
            let all = whole(rows + people.nobody);
            assert_eq!(numbers(&context, "select count(*), count(id), count(distinct id) from t").await, [all, whole(rows), whole(known)]);
            let groups = "select count(*), cast(sum(n) as bigint), max(n) from (select id, count(*) as n from t group by id)";
            let most = people.rows.iter().max().copied().unwrap_or_default().max(people.nobody);
            assert_eq!(numbers(&context, groups).await, [whole(known + usize::from(people.nobody > 0)), all, whole(most)]);
            let ranks = "select count(*) from (select number, row_number() over (partition by id order by number) as place from t) \
                         where place <> number + 1";
            assert_eq!(numbers(&context, ranks).await, [0]);
            let joined: usize = people.rows.iter().zip(&others.rows).map(|(t, u)| (*t).min(*u)).sum();
            let join = "select count(*) from t join u on u.id = t.id and u.number = t.number";
            assert_eq!(numbers(&context, join).await, [whole(joined)]);
            let left = "select count(*), count(u.id) from t left join (select distinct id from u) u on u.id = t.id";
            assert_eq!(numbers(&context, left).await, [all, whole(rows)]);
            let limited = format!("select count(*) from (select id from t limit {})", rows / 2);
            assert_eq!(numbers(&context, &limited).await, [whole(rows / 2)]);
            let middle = people.rows.len() / 2;
            let above = format!("select count(*) from t where id >= 'p{middle:06}'");
            assert_eq!(numbers(&context, &above).await, [whole(people.rows[middle..].iter().sum())]);
            let sorted = context.sql("select id, number from t order by id, number").await.unwrap().collect().await.unwrap();
            let sorted = arrow::compute::concat_batches(&people.batch(0..0, 0).schema(), &sorted).unwrap();
            assert_eq!(sorted.columns(), people.batch(0..people.rows.len(), people.nobody).columns());
        });
    }
}

#[tokio::test]
async fn what_lies_together_is_neither_sorted_nor_sent_around() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
    let people = People { rows: vec![20; 10_000], nobody: 5 };
    people.write(&lake, "t", 2).await;
    people.write(&lake, "u", 1).await;
    let context = context(3);
    for table in ["t", "u"] {
        context.register_table(table, lake.provider(table, None).await.unwrap()).unwrap();
    }
    let steps = async |sql: &str| {
        let plan = context.sql(sql).await.unwrap().create_physical_plan().await.unwrap();
        datafusion::physical_plan::displayable(plan.as_ref()).indent(false).to_string()
    };
    for sql in [
        "select id, count(*) from t group by id",
        "select id, number, max(number) from t group by id, number",
        "select id, row_number() over (partition by id order by number) from t",
        "select t.id, t.number, n from t join (select id, count(*) as n from u group by id) u on u.id = t.id",
    ] {
        let plan = steps(sql).await;
        assert!(plan.contains("RangedExec: parts=3"), "{plan}");
        assert!(!plan.contains("SortExec") && !plan.contains("RepartitionExec"), "{plan}");
    }
    let plan = steps("select count(*) from t where number = 3").await;
    assert!(!plan.contains("RangedExec"), "without the ids there is nothing to cut by\n{plan}");
}

#[tokio::test]
async fn a_file_ends_where_a_value_does() {
    let folder = tempfile::tempdir().unwrap();
    let lake = Lake::open(folder.path(), &LakeSettings::default()).unwrap();
    let people = People { rows: vec![3; 7], nobody: 0 };
    let staging = Staging::new(&lake.folder("t").unwrap(), "t", 0).unwrap();
    let rows = people.batch(0..7, 0);
    let mut writer = FileWriter::sorted(&staging, &rows.schema(), &["id".to_owned()]);
    writer.target = 1;
    writer.write(&rows.slice(0, 10)).unwrap();
    writer.write(&rows.slice(10, 1)).unwrap();
    writer.write(&rows.slice(11, 10)).unwrap();
    let files: Vec<u64> = writer.finish().unwrap().iter().map(|file| file.rows).collect();
    assert_eq!(files, [12, 9], "the fourth person's rows stand in one file");
}
