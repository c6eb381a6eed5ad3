use std::process::Command;

use sqlx::{PgPool, SqlitePool};

use super::{FromRow, query};
use crate::{
    ledger::{Ledger, LedgerSettings, fixture},
    secret::SecretRef,
    source::database::server::Server,
};

/// Whatever the tests of these rooms ask of the ledger, they ask of both.
#[test]
fn the_same_tests_hold_on_postgresql() {
    if std::env::var_os(fixture::SERVER).is_some() {
        return;
    }
    let Some(server) = Server::postgres() else { return };
    let tests = Command::new(std::env::current_exe().unwrap())
        .args(["ledger::", "delivery::tests", "campaign::tests", "--skip", "the_same_tests_hold_on_postgresql", "--test-threads", "4"])
        .env(fixture::SERVER, server.url())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&tests.stdout);
    assert!(tests.status.success(), "{said}{}", String::from_utf8_lossy(&tests.stderr));
    assert!(said.contains("ledger::turn::"), "they ran: {said}");
}

/// Every table and column, sorted.
async fn columns_of_sqlite(path: &std::path::Path) -> Vec<String> {
    let pool = SqlitePool::connect(&format!("sqlite://{}", path.display())).await.unwrap();
    sqlx::query_scalar(
        "select t.name || '.' || c.name || case c.\"notnull\" when 1 then ' not null' else '' end
         from sqlite_schema t join pragma_table_info(t.name) c where t.type = 'table' and t.name not like 'sqlite%' and c.pk = 0 order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap()
}

#[tokio::test]
async fn both_have_the_same_tables() {
    let Some(server) = Server::postgres() else { return };
    let root = tempfile::tempdir().unwrap();
    let settings = LedgerSettings::default();
    Ledger::open(root.path(), &settings).await.unwrap();
    std::fs::write(root.path().join("url"), server.url()).unwrap();
    let settings = LedgerSettings { url: Some(SecretRef::File("url".into())), ..settings };
    assert!(Ledger::look(root.path(), &settings).await.unwrap().is_none(), "a look makes nothing");
    // Two that come first at once.
    let (first, second) = tokio::join!(Ledger::open(root.path(), &settings), Ledger::open(root.path(), &settings));
    first.unwrap();
    second.unwrap();
    assert!(Ledger::look(root.path(), &settings).await.unwrap().is_some());
    let pool = PgPool::connect(&server.url()).await.unwrap();
    let columns: Vec<String> = sqlx::query_scalar(
        "select c.table_name || '.' || c.column_name || case c.is_nullable when 'NO' then ' not null' else '' end collate \"C\"
         from information_schema.columns c
         where c.table_schema = 'perennial' and c.table_name <> 'schema_version' and c.column_name <> 'rowid'
           and not exists (select 1 from information_schema.key_column_usage k
             where k.table_schema = 'perennial' and k.table_name = c.table_name and k.column_name = c.column_name and k.constraint_name like '%pkey')
         order by 1",
    )
    .fetch_all(&pool)
    .await
    .unwrap();
    assert_eq!(columns, columns_of_sqlite(&root.path().join("data/ledger.db")).await);
}

/// Statements for many rows are done one by one on a file and all at once by a database: of what is refused in the middle nothing stands on
/// either, and the next transaction is none the worse for it.
#[tokio::test]
async fn what_is_refused_in_the_middle_of_many_rows_undoes_them_all() {
    let root = tempfile::tempdir().unwrap();
    let ledger = fixture::open(root.path()).await;
    let now = chrono::Utc::now();
    fixture::approved(&ledger, "p", "marketing", 3, now, now).await;
    let insert = |state: [&'static str; 3]| {
        let rows = state.into_iter().zip(["a", "b", "c"]).map(|(state, customer)| [customer.into(), state.into()]);
        query(
            "insert or rollback into recipients (plan, customer_id, message_id, state, updated_at)
             {values} ?1, {0}, {0} || '@x', {1}, 0 {rows} on conflict (plan, customer_id) do nothing",
        )
        .bind("p")
        .each(rows)
    };
    let count = "select count(*) from recipients where state = 'waiting'";
    let mut write = ledger.begin().await.unwrap();
    insert(["waiting", "waiting", "no such state"]).execute(&mut write).await.unwrap_err();
    drop(write);
    assert_eq!(fixture::number(&ledger, count).await, 0);
    let mut write = ledger.begin().await.unwrap();
    assert_eq!(insert(["waiting"; 3]).execute(&mut write).await.unwrap().rows_affected(), 3);
    assert_eq!(insert(["waiting"; 3]).execute(&mut write).await.unwrap().rows_affected(), 0);
    write.commit().await.unwrap();

    let mut write = ledger.begin().await.unwrap();
    let moves = [("a", "committing"), ("b", "committing"), ("c", "accepted")].map(|(customer, state)| [customer.into(), state.into()]);
    let update = "update or rollback recipients set state = {1} {rows} where plan = ?1 and customer_id = {0}";
    query(update).bind("p").each(moves).execute(&mut write).await.unwrap_err();
    drop(write);
    assert_eq!(fixture::number(&ledger, count).await, 3, "the send law takes nobody from waiting to accepted");

    let mut write = ledger.begin().await.unwrap();
    let asked = ["c", "nobody", "a"].map(|customer| [customer.into()]);
    let found = query("select message_id from recipients where plan = ?1 and customer_id = {0}").bind("p").each(asked);
    let found: Vec<(i64, String)> =
        found.fetch_all(&mut write).await.unwrap().into_iter().map(|row| FromRow::from_row(row).unwrap()).collect();
    assert_eq!(found, [(0, "c@x".to_owned()), (2, "a@x".to_owned())], "in the order they were asked for");
}

#[tokio::test]
async fn a_database_that_cannot_be_opened_is_told_of_without_its_password() {
    let root = tempfile::tempdir().unwrap();
    for (schema, url, code, said) in [
        ("perennial", "postgres://ledger:canary-71@127.0.0.1:1/shop", "ledger", "cannot be opened"),
        ("perennial", "canary-71", "ledger", "cannot be opened"),
        ("Per; drop", "postgres://ledger:canary-71@127.0.0.1:1/shop", "ledger_schema", "no name"),
    ] {
        std::fs::write(root.path().join("url"), url).unwrap();
        let settings = LedgerSettings { url: Some(SecretRef::File("url".into())), schema: schema.into(), ..LedgerSettings::default() };
        let diagnosis = crate::diagnosis::Diagnose::diagnosis(&Ledger::open(root.path(), &settings).await.unwrap_err());
        assert_eq!(diagnosis.code, code);
        let all = format!("{diagnosis:?}");
        assert!(all.contains(said) && !all.contains("canary-71"), "{all}");
    }
}
