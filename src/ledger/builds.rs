//! Which version of each table readers see, and each person's present state. Both change in one transaction, so that nobody ever sees
//! half a build.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    CustomerId, Ledger, LedgerError, instant, micros,
    store::{Held, Write, query, query_as},
};
use chrono::{DateTime, Utc};

/// Rows bound by one statement; SQLite takes 32,766 values at most.
const CHUNK: usize = 1000;

/// A table as a build leaves it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedTable {
    /// Its name.
    pub name: String,
    /// `raw`, `ledger`, `canonical`, `model`, `segment` or `metric`.
    pub kind: String,
    /// Its version in the lake.
    pub version: i64,
    /// Its rows; none for raw tables, which are not counted.
    pub rows: Option<u64>,
    /// What it was made from.
    pub fingerprint: String,
    /// What it holds: equal where its rows are; empty where nobody knows.
    pub content: String,
}

/// What a build did with a table, and what that took.
#[derive(Debug, Clone, PartialEq)]
pub struct TableOutcome {
    /// The table.
    pub table: String,
    /// `built`, `same`, `reused`, `kept` or `blocked`.
    pub outcome: String,
    /// Of `kept` the code of what was wrong, of `blocked` the table it waits for.
    pub because: Option<String>,
    /// Seconds of wall clock.
    pub seconds: f64,
}

/// The last build that looked at a table.
#[derive(Debug, Clone, PartialEq)]
pub struct LastBuild {
    /// Its logical time.
    pub as_of: DateTime<Utc>,
    /// When it was published.
    pub published_at: DateTime<Utc>,
    /// What it did with the table.
    pub outcome: TableOutcome,
}

/// What a build makes visible, all at once.
#[derive(Debug)]
pub struct Publication<'a> {
    /// The run it belongs to.
    pub run: Option<&'a str>,
    /// The logical time.
    pub as_of: DateTime<Utc>,
    /// The present instant.
    pub now: DateTime<Utc>,
    /// The raw tables it read, and the tables it made or found unchanged: readers see them from now on.
    pub tables: &'a [PublishedTable],
    /// What readers see beside them: it could not be made anew, or nobody asked for it. It stays as the build that made it left it.
    pub kept: &'a [PublishedTable],
    /// What became of every table it looked at.
    pub outcomes: &'a [TableOutcome],
    /// Everyone's present state; none where this build did not look at it.
    pub contact_state: Option<FreshContactState>,
}

/// What delivery must know about a person at the moment of sending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContactState {
    /// The person.
    pub customer_id: CustomerId,
    /// Consent to marketing mail: `granted`, `denied` or `unknown`.
    pub marketing_email: String,
    /// Consent to service mail, alike.
    pub service_email: String,
    /// Whether a complaint of theirs is unresolved.
    pub open_complaint: bool,
    /// When they last ordered; cancelled orders do not count.
    pub last_order_at: Option<DateTime<Utc>>,
    /// When they last complained.
    pub last_complaint_at: Option<DateTime<Utc>>,
    /// Their IANA zone.
    pub timezone: String,
    /// Whether every source has deleted them.
    pub deleted: bool,
    /// The segments they are in, sorted.
    pub segments: Vec<String>,
}

/// Everyone's new state, collected beside the old until a build is published; dropped, it leaves no trace.
#[derive(Debug)]
pub struct FreshContactState {
    connection: Held,
    people: u64,
}

const STATE_COLUMNS: &str =
    "customer_id, marketing_email, service_email, open_complaint, last_order_at, last_complaint_at, timezone, deleted, segments";

/// The tables it is collected in, on a connection of its own.
const FRESH: [&str; 2] = ["fresh_contact_state", "fresh_aliases"];

impl FreshContactState {
    /// Adds people; each may come once.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn add(&mut self, people: &[ContactState]) -> Result<(), LedgerError> {
        let mut write = self.connection.begin_aside().await?;
        for chunk in people.chunks(CHUNK) {
            let rows = vec!["(?, ?, ?, ?, ?, ?, ?, ?, ?)"; chunk.len()].join(", ");
            let mut insert = query(format!("insert into fresh_contact_state ({STATE_COLUMNS}) values {rows}"));
            for person in chunk {
                insert = insert
                    .bind(person.customer_id.as_str())
                    .bind(&person.marketing_email)
                    .bind(&person.service_email)
                    .bind(person.open_complaint)
                    .bind(person.last_order_at.map(micros))
                    .bind(person.last_complaint_at.map(micros))
                    .bind(&person.timezone)
                    .bind(person.deleted)
                    .bind(serde_json::json!(person.segments).to_string());
            }
            insert.execute(&mut write).await?;
        }
        write.commit().await?;
        self.people += people.len() as u64;
        Ok(())
    }

    /// Adds names people were known by, each with the person it belongs to now.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn add_aliases(&mut self, aliases: &[(String, CustomerId)]) -> Result<(), LedgerError> {
        let mut write = self.connection.begin_aside().await?;
        for chunk in aliases.chunks(CHUNK) {
            // One statement writes a row once: of two that share a name the later holds.
            let chunk: BTreeMap<&String, &CustomerId> = chunk.iter().map(|(alias, customer)| (alias, customer)).collect();
            let rows = vec!["(?, ?)"; chunk.len()].join(", ");
            let mut insert = query(format!(
                "insert into fresh_aliases (alias, customer_id) values {rows} \
                 on conflict (alias) do update set customer_id = excluded.customer_id"
            ));
            for (alias, customer) in chunk {
                insert = insert.bind(alias).bind(customer.as_str());
            }
            insert.execute(&mut write).await?;
        }
        write.commit().await?;
        Ok(())
    }

    /// How many people were added.
    #[must_use]
    pub fn people(&self) -> u64 {
        self.people
    }
}

impl Ledger {
    /// The version map: which version of each built table readers see.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn published(&self) -> Result<BTreeMap<String, i64>, LedgerError> {
        let rows: Vec<(String, i64)> = query_as("select table_name, version from published").fetch_all(self.pool()).await?;
        Ok(rows.into_iter().collect())
    }

    /// The logical time of the build that made each table readers see.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn published_as_of(&self) -> Result<BTreeMap<String, DateTime<Utc>>, LedgerError> {
        let rows: Vec<(String, i64)> =
            query_as("select p.table_name, b.as_of from published p join builds b on b.build = p.build").fetch_all(self.pool()).await?;
        rows.into_iter().map(|(table, as_of)| Ok((table, instant(as_of)?))).collect()
    }

    /// The published tables with what they were made from.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn published_tables(&self) -> Result<BTreeMap<String, PublishedTable>, LedgerError> {
        let rows = query(
            "select t.table_name, t.kind, t.version, t.rows, t.fingerprint, t.content from published p \
             join build_tables t on t.build = p.build and t.table_name = p.table_name and t.version = p.version",
        );
        let mut tables = BTreeMap::new();
        for row in rows.fetch_all(self.pool()).await? {
            let table = PublishedTable {
                name: row.try_get(0)?,
                kind: row.try_get(1)?,
                version: row.try_get(2)?,
                rows: row.try_get::<Option<i64>, _>(3)?.and_then(|rows| u64::try_from(rows).ok()),
                fingerprint: row.try_get(4)?,
                content: row.try_get(5)?,
            };
            tables.insert(table.name.clone(), table);
        }
        Ok(tables)
    }

    /// Makes a build visible: its tables, and everyone's present state. Returns the build's name.
    ///
    /// # Errors
    /// Where the ledger refuses; then nothing of it is visible.
    pub async fn publish(&self, publication: Publication<'_>) -> Result<String, LedgerError> {
        let Publication { run, as_of, now, tables, kept, outcomes, contact_state } = publication;
        let mut connection = match contact_state {
            Some(FreshContactState { connection, .. }) => (connection, true),
            None => (self.pool().hold().await?, false),
        };
        let mut write = connection.0.begin().await?;
        let (earlier,): (i64,) = query_as("select coalesce(max(rowid), 0) from builds").fetch_one(&mut write).await?;
        let build = format!("{}-{}", as_of.format("%Y%m%dT%H%M%SZ"), earlier + 1);
        query("insert into builds (build, run, as_of, published_at) values (?, ?, ?, ?)")
            .bind(&build)
            .bind(run)
            .bind(micros(as_of))
            .bind(micros(now))
            .execute(&mut write)
            .await?;
        for (table, made) in tables.iter().map(|table| (table, true)).chain(kept.iter().map(|table| (table, false))) {
            query("insert into build_tables (build, table_name, kind, version, rows, fingerprint, content) values (?, ?, ?, ?, ?, ?, ?)")
                .bind(&build)
                .bind(&table.name)
                .bind(&table.kind)
                .bind(table.version)
                .bind(table.rows.and_then(|rows| i64::try_from(rows).ok()))
                .bind(&table.fingerprint)
                .bind(&table.content)
                .execute(&mut write)
                .await?;
            if made && table.kind != "raw" {
                query(
                    "insert into published (table_name, version, build) values (?, ?, ?) \
                     on conflict (table_name) do update set version = excluded.version, build = excluded.build",
                )
                .bind(&table.name)
                .bind(table.version)
                .bind(&build)
                .execute(&mut write)
                .await?;
            }
        }
        for TableOutcome { table, outcome, because, seconds } in outcomes {
            query("insert into build_outcomes (build, table_name, outcome, because, seconds) values (?, ?, ?, ?, ?)")
                .bind(&build)
                .bind(table)
                .bind(outcome)
                .bind(because)
                .bind(seconds)
                .execute(&mut write)
                .await?;
        }
        if connection.1 {
            replace_contact_state(&mut write).await?;
            for statement in FOLLOW_ALIASES {
                query(statement).execute(&mut write).await?;
            }
            query(
                "insert into contact_state_published (one, published_at, as_of) values (1, ?, ?) \
                 on conflict (one) do update set published_at = excluded.published_at, as_of = excluded.as_of",
            )
            .bind(micros(now))
            .bind(micros(as_of))
            .execute(&mut write)
            .await?;
        }
        write.commit().await?;
        if connection.1 {
            for table in FRESH {
                query(format!("drop table {table}")).execute(&mut connection.0).await?;
            }
        }
        Ok(build)
    }

    /// An empty place for everyone's new state, outside the ledger's file until [`Ledger::publish`] takes it in.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn fresh_contact_state(&self) -> Result<FreshContactState, LedgerError> {
        let mut connection = self.pool().hold().await?;
        for table in FRESH {
            query(format!("drop table if exists {table}")).execute(&mut connection).await?;
        }
        for statement in [
            "create temp table fresh_aliases (alias text not null primary key, customer_id text not null) without rowid".to_owned(),
            format!("create temp table fresh_contact_state as select {STATE_COLUMNS} from contact_state where false"),
            "create unique index fresh_contact_state_key on fresh_contact_state (customer_id)".to_owned(),
        ] {
            query(statement).execute(&mut connection).await?;
        }
        Ok(FreshContactState { connection, people: 0 })
    }

    /// The present state of people, as the last build published it; people it does not know are left out.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn contact_state(&self, ids: &[CustomerId]) -> Result<Vec<ContactState>, LedgerError> {
        let mut found = Vec::with_capacity(ids.len());
        for chunk in ids.chunks(CHUNK) {
            let list = vec!["?"; chunk.len()].join(", ");
            let mut select = query(format!("select {STATE_COLUMNS} from contact_state where customer_id in ({list})"));
            for id in chunk {
                select = select.bind(id.as_str());
            }
            for row in select.fetch_all(self.pool()).await? {
                let at = |column: usize| row.try_get::<Option<i64>, _>(column).map_err(LedgerError::from)?.map(instant).transpose();
                let segments: String = row.try_get(8)?;
                found.push(ContactState {
                    customer_id: CustomerId::new(row.try_get::<String, _>(0)?),
                    marketing_email: row.try_get(1)?,
                    service_email: row.try_get(2)?,
                    open_complaint: row.try_get(3)?,
                    last_order_at: at(4)?,
                    last_complaint_at: at(5)?,
                    timezone: row.try_get(6)?,
                    deleted: row.try_get(7)?,
                    segments: serde_json::from_str(&segments)
                        .map_err(|_| LedgerError::Value { value: segments.clone(), expected: "list of segments" })?,
                });
            }
        }
        Ok(found)
    }

    /// When everyone's state was last published, and the logical time it belongs to.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn contact_state_published(&self) -> Result<Option<(DateTime<Utc>, DateTime<Utc>)>, LedgerError> {
        let row: Option<(i64, i64)> =
            query_as("select published_at, as_of from contact_state_published where one = 1").fetch_optional(self.pool()).await?;
        row.map(|(published_at, as_of)| Ok((instant(published_at)?, instant(as_of)?))).transpose()
    }

    /// The versions of a table that builds published, newest first, each with the logical time of the first build that published it.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn versions_of(&self, table: &str, count: u32) -> Result<Vec<(i64, DateTime<Utc>)>, LedgerError> {
        let rows: Vec<(i64, i64)> = query_as(
            "select t.version, min(b.as_of) from build_tables t join builds b on b.build = t.build \
             where t.table_name = ? group by t.version order by max(b.rowid) desc limit ?",
        )
        .bind(table)
        .bind(count)
        .fetch_all(self.pool())
        .await?;
        rows.into_iter().map(|(version, as_of)| Ok((version, instant(as_of)?))).collect()
    }

    /// The last build that looked at each table, and what it did; none of builds before the ledger kept it.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn last_builds(&self) -> Result<BTreeMap<String, LastBuild>, LedgerError> {
        let rows = query(
            "select table_name, outcome, because, seconds, as_of, published_at from (
               select o.*, b.as_of, b.published_at, row_number() over (partition by o.table_name order by b.rowid desc) as nth
               from build_outcomes o join builds b on b.build = o.build
             ) newest where nth = 1",
        );
        let mut builds = BTreeMap::new();
        for row in rows.fetch_all(self.pool()).await? {
            let table: String = row.try_get(0)?;
            let outcome =
                TableOutcome { table: table.clone(), outcome: row.try_get(1)?, because: row.try_get(2)?, seconds: row.try_get(3)? };
            builds.insert(table, LastBuild { as_of: instant(row.try_get(4)?)?, published_at: instant(row.try_get(5)?)?, outcome });
        }
        Ok(builds)
    }

    /// The versions that must stay in the lake: what readers see now, what the last two builds saw, and what builds since `since` saw.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn pinned_versions(&self, since: DateTime<Utc>) -> Result<BTreeMap<String, Vec<i64>>, LedgerError> {
        let rows: Vec<(String, i64)> = query_as(
            "select table_name, version from published union \
             select t.table_name, t.version from build_tables t join builds b on b.build = t.build \
             where b.published_at >= ? or b.rowid in (select rowid from builds order by rowid desc limit 2)",
        )
        .bind(micros(since))
        .fetch_all(self.pool())
        .await?;
        let mut pinned: BTreeMap<String, BTreeSet<i64>> = BTreeMap::new();
        for (table, version) in rows {
            pinned.entry(table).or_default().insert(version);
        }
        Ok(pinned.into_iter().map(|(table, versions)| (table, versions.into_iter().collect())).collect())
    }

    /// Forgets builds published before `before`, except those that readers still see and the last two; returns how many.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn forget_builds(&self, before: DateTime<Utc>) -> Result<u64, LedgerError> {
        let old = "select build from builds where published_at < ? and build not in (select build from published) \
                   and rowid not in (select rowid from builds order by rowid desc limit 2)";
        let mut write = self.begin().await?;
        for part in ["build_tables", "build_outcomes"] {
            let parts = format!("delete from {part} where build in ({old})");
            query(parts).bind(micros(before)).execute(&mut write).await?;
        }
        let builds = format!("delete from builds where build in ({old})");
        let forgotten = query(builds).bind(micros(before)).execute(&mut write).await?;
        write.commit().await?;
        Ok(forgotten.rows_affected())
    }

    /// When a stream was last pulled to its end.
    ///
    /// # Errors
    /// Where the ledger refuses.
    pub async fn last_pulled(&self, source: &str, stream: &str) -> Result<Option<DateTime<Utc>>, LedgerError> {
        let (at,): (Option<i64>,) =
            query_as("select max(finished_at) from pulls where source = ? and stream = ? and finished_at is not null and error is null")
                .bind(source)
                .bind(stream)
                .fetch_one(self.pool())
                .await?;
        at.map(instant).transpose()
    }
}

/// Takes in who is who now. A name nobody has any more stays with the person it belonged to, wherever that person's own name went.
const FOLLOW_ALIASES: [&str; 3] = [
    "delete from aliases where exists (select 1 from fresh_contact_state f where f.customer_id = aliases.alias)",
    "insert into aliases (alias, customer_id) select alias, customer_id from fresh_aliases where true
     on conflict (alias) do update set customer_id = excluded.customer_id where aliases.customer_id <> excluded.customer_id",
    "update aliases set customer_id = (select n.customer_id from aliases n where n.alias = aliases.customer_id)
     where customer_id in (select alias from aliases)",
];

/// Writes only what differs: on most nights few people change, and the ledger's log stays small.
async fn replace_contact_state(write: &mut Write<'_>) -> Result<(), LedgerError> {
    let changed =
        ["marketing_email", "service_email", "open_complaint", "last_order_at", "last_complaint_at", "timezone", "deleted", "segments"];
    let list = |prefix: &str| changed.map(|column| format!("{prefix}{column}")).join(", ");
    let set = changed.map(|column| format!("{column} = excluded.{column}")).join(", ");
    query(
        "delete from contact_state
         where not exists (select 1 from fresh_contact_state f where f.customer_id = contact_state.customer_id)",
    )
    .execute(&mut *write)
    .await?;
    let upsert = format!(
        "insert into contact_state ({STATE_COLUMNS}) select {STATE_COLUMNS} from fresh_contact_state where true \
         on conflict (customer_id) do update set {set} where ({}) is distinct from ({})",
        list("contact_state."),
        list("excluded.")
    );
    query(upsert).execute(&mut *write).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ledger::fixture;

    async fn ledger() -> (tempfile::TempDir, Ledger) {
        let folder = tempfile::tempdir().unwrap();
        let ledger = fixture::open(folder.path()).await;
        (folder, ledger)
    }

    fn at(hour: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_700_000_000 + hour * 3600, 0).unwrap()
    }

    fn table(name: &str, kind: &str, version: i64) -> PublishedTable {
        PublishedTable {
            name: name.into(),
            kind: kind.into(),
            version,
            rows: Some(3),
            fingerprint: format!("f{version}"),
            content: format!("c{version}"),
        }
    }

    fn person(id: &str, order: Option<i64>, segments: &[&str]) -> ContactState {
        ContactState {
            customer_id: CustomerId::new(id),
            marketing_email: "granted".into(),
            service_email: "unknown".into(),
            open_complaint: false,
            last_order_at: order.map(at),
            last_complaint_at: None,
            timezone: "Europe/Berlin".into(),
            deleted: false,
            segments: segments.iter().map(|name| (*name).to_owned()).collect(),
        }
    }

    async fn publish(ledger: &Ledger, hour: i64, tables: &[PublishedTable], people: Option<&[ContactState]>) -> String {
        let contact_state = match people {
            Some(people) => {
                let mut fresh = ledger.fresh_contact_state().await.unwrap();
                fresh.add(people).await.unwrap();
                Some(fresh)
            }
            None => None,
        };
        ledger
            .publish(Publication { run: None, as_of: at(hour), now: at(hour), tables, kept: &[], outcomes: &[], contact_state })
            .await
            .unwrap()
    }

    #[tokio::test]
    async fn a_build_becomes_visible_with_everyones_state() {
        let (_folder, ledger) = ledger().await;
        assert!(ledger.published().await.unwrap().is_empty());
        assert_eq!(ledger.contact_state_published().await.unwrap(), None);
        publish(
            &ledger,
            1,
            &[table("lapsed", "segment", 0), table("shop__orders", "raw", 9)],
            Some(&[person("a", Some(1), &["lapsed"]), person("b", None, &[])]),
        )
        .await;
        assert_eq!(ledger.published().await.unwrap(), BTreeMap::from([("lapsed".to_owned(), 0)]));
        assert_eq!(ledger.contact_state_published().await.unwrap(), Some((at(1), at(1))));

        publish(&ledger, 2, &[table("lapsed", "segment", 1)], Some(&[person("a", Some(2), &[]), person("c", None, &[])])).await;
        let ids = ["a", "b", "c"].map(CustomerId::new);
        let mut people = ledger.contact_state(&ids).await.unwrap();
        people.sort_by(|a, b| a.customer_id.cmp(&b.customer_id));
        assert_eq!(people, [person("a", Some(2), &[]), person("c", None, &[])]);
    }

    #[tokio::test]
    async fn what_a_build_did_not_make_keeps_the_time_it_was_made_for() {
        let (_folder, ledger) = ledger().await;
        publish(&ledger, 1, &[table("lapsed", "segment", 0), table("orders", "canonical", 0)], None).await;
        let kept = [table("lapsed", "segment", 0)];
        let tables = [table("orders", "canonical", 1)];
        let publication =
            Publication { run: None, as_of: at(2), now: at(2), tables: &tables, kept: &kept, outcomes: &[], contact_state: None };
        ledger.publish(publication).await.unwrap();
        let times = ledger.published_as_of().await.unwrap();
        assert_eq!((times["lapsed"], times["orders"]), (at(1), at(2)));
        assert_eq!(ledger.published().await.unwrap(), BTreeMap::from([("lapsed".to_owned(), 0), ("orders".to_owned(), 1)]));
        assert_eq!(ledger.published_tables().await.unwrap().len(), 2, "what it was made from is still known");
    }

    #[tokio::test]
    async fn the_last_build_that_looked_at_a_table_says_what_it_did() {
        let (_folder, ledger) = ledger().await;
        let outcome = |table: &str, outcome: &str, because: Option<&str>| TableOutcome {
            table: table.into(),
            outcome: outcome.into(),
            because: because.map(str::to_owned),
            seconds: 0.25,
        };
        let publish = async |hour, outcomes: &[TableOutcome]| {
            let (tables, now) = (&[table("orders", "canonical", hour)], at(hour));
            ledger.publish(Publication { run: None, as_of: now, now, tables, kept: &[], outcomes, contact_state: None }).await.unwrap()
        };
        publish(1, &[outcome("orders", "built", None), outcome("lapsed", "kept", Some("audit"))]).await;
        publish(2, &[outcome("orders", "reused", None)]).await;
        let last = ledger.last_builds().await.unwrap();
        assert_eq!((last["orders"].as_of, last["orders"].outcome.outcome.as_str()), (at(2), "reused"));
        assert_eq!((last["lapsed"].as_of, last["lapsed"].outcome.because.as_deref()), (at(1), Some("audit")));
        publish(3, &[]).await;
        publish(4, &[]).await;
        ledger.forget_builds(at(9)).await.unwrap();
        assert!(ledger.last_builds().await.unwrap().is_empty(), "forgotten with its build");
    }

    #[tokio::test]
    async fn a_state_that_is_not_published_leaves_no_trace() {
        let (_folder, ledger) = ledger().await;
        publish(&ledger, 1, &[], Some(&[person("a", None, &[])])).await;
        let mut fresh = ledger.fresh_contact_state().await.unwrap();
        fresh.add(&[person("z", None, &[])]).await.unwrap();
        drop(fresh);
        publish(&ledger, 2, &[table("t", "model", 1)], None).await;
        assert_eq!(ledger.contact_state(&[CustomerId::new("a"), CustomerId::new("z")]).await.unwrap().len(), 1);
        assert_eq!(ledger.contact_state_published().await.unwrap(), Some((at(1), at(1))));
    }

    #[tokio::test]
    async fn old_names_follow_the_person_they_belong_to() {
        let (_folder, ledger) = ledger().await;
        let publish = async |hour, people: &[&str], aliases: &[(&str, &str)]| {
            let mut fresh = ledger.fresh_contact_state().await.unwrap();
            let people: Vec<ContactState> = people.iter().map(|id| person(id, None, &[])).collect();
            fresh.add(&people).await.unwrap();
            let aliases: Vec<(String, CustomerId)> =
                aliases.iter().map(|(alias, id)| ((*alias).to_owned(), CustomerId::new(*id))).collect();
            fresh.add_aliases(&aliases).await.unwrap();
            ledger
                .publish(Publication {
                    run: None,
                    as_of: at(hour),
                    now: at(hour),
                    tables: &[],
                    kept: &[],
                    outcomes: &[],
                    contact_state: Some(fresh),
                })
                .await
                .unwrap();
            let rows: Vec<(String, String)> =
                query_as("select alias, customer_id from aliases order by alias").fetch_all(ledger.pool()).await.unwrap();
            rows.into_iter().map(|(alias, id)| format!("{alias} is {id}")).collect::<Vec<_>>()
        };
        assert_eq!(publish(1, &["shop:5", "crm:9"], &[]).await, [""; 0]);
        assert_eq!(publish(2, &["crm:9"], &[("shop:5", "crm:9")]).await, ["shop:5 is crm:9"]);
        // The shop forgets the record, and the person turns out to be one the help desk knew before.
        assert_eq!(publish(3, &["desk:1"], &[("crm:9", "desk:1")]).await, ["crm:9 is desk:1", "shop:5 is desk:1"]);
        assert_eq!(publish(4, &["desk:1", "shop:5"], &[("crm:9", "desk:1")]).await, ["crm:9 is desk:1"], "a person again");
    }

    #[tokio::test]
    async fn versions_that_somebody_may_read_are_pinned() {
        let (_folder, ledger) = ledger().await;
        for hour in 1..=4 {
            publish(&ledger, hour, &[table("a", "model", hour), table("raw", "raw", hour * 10)], None).await;
        }
        publish(&ledger, 5, &[table("b", "model", 1)], None).await;
        let pinned = ledger.pinned_versions(at(9)).await.unwrap();
        assert_eq!(pinned["a"], [4]);
        assert_eq!(pinned["raw"], [40]);
        assert_eq!(ledger.pinned_versions(at(3)).await.unwrap()["a"], [3, 4]);
        assert_eq!(ledger.versions_of("a", 2).await.unwrap(), [(4, at(4)), (3, at(3))]);

        assert_eq!(ledger.forget_builds(at(9)).await.unwrap(), 3);
        assert_eq!(fixture::number(&ledger, "select count(*) from builds").await, 2);
        assert_eq!(ledger.published_tables().await.unwrap()["a"].fingerprint, "f4");
    }
}
