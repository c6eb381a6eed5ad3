//! What tables a project has, what they are and what their columns hold: from its SQL files, its sources and the tables every project has.
//! Nothing is built, and no lake is needed; where there is one, it says what columns raw tables have come to hold.

use std::{collections::BTreeSet, path::PathBuf};

use arrow::datatypes::{DataType, Schema, SchemaRef};
use serde::Serialize;

use super::{Deployment, raw_schemas};
use crate::{
    config::{Folder, nearest},
    diagnosis::{Diagnosis, Failure, Finding},
    engine::{Engine, EngineSettings},
    lake::{Lake, LakeError, LakeSettings},
    model::{Kind, Library, SqlFile, Table, canonical_tables, ledger_tables},
    source::{self, Source},
};

/// The kinds of tables, in the order they are told.
const KINDS: [Kind; 6] = [Kind::Canonical, Kind::Ledger, Kind::Model, Kind::Segment, Kind::Metric, Kind::Raw];

/// A table that queries can name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableEntry {
    /// Its name.
    pub table: String,
    /// What it is.
    pub kind: Kind,
    /// What it is, in words.
    pub description: Option<String>,
    /// The files that make it; none for what the program makes by itself.
    pub files: Vec<PathBuf>,
}

impl TableEntry {
    /// What it is, in a sentence.
    #[must_use]
    pub fn sentence(&self) -> &str {
        first_sentence(self.description.as_deref().unwrap_or_default())
    }
}

/// A table and its columns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct TableColumns {
    /// The table.
    #[serde(flatten)]
    pub entry: TableEntry,
    /// The columns that name a row; none where nothing does, or nobody knows.
    pub key: Vec<String>,
    /// Its columns, in order.
    pub columns: Vec<ColumnEntry>,
    /// What staging may give beside them: the program uses it and drops it.
    pub staging: Vec<ColumnEntry>,
}

/// A column of a table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ColumnEntry {
    /// Its name.
    pub name: String,
    /// Its type, in the words of a source's `columns`.
    #[serde(rename = "type")]
    pub kind: String,
    /// `false` where every build sees to it that it is never null; `None` where nothing is known.
    pub nullable: Option<bool>,
    /// What it holds.
    pub description: Option<String>,
}

/// The tables of a project.
#[derive(Debug)]
pub struct Tables {
    library: Library,
    settings: EngineSettings,
    deployment: Option<Deployment>,
    sources: Vec<Source>,
    lake: Option<Lake>,
}

impl Tables {
    /// Reads a project's SQL files and sources. A source or a setting that does not fit is warned of and left out.
    ///
    /// # Errors
    /// Where an SQL file cannot be read.
    pub fn open(folder: &Folder) -> Result<Self, Failure> {
        let (tables, findings) = Self::read(folder)?;
        for finding in findings {
            tracing::warn!("left out, `perennial check` tells more: {}", finding.diagnosis);
        }
        Ok(tables)
    }

    /// The same, with what is wrong with the sources and settings that are left out.
    ///
    /// # Errors
    /// Where an SQL file cannot be read.
    pub(super) fn read(folder: &Folder) -> Result<(Self, Vec<Finding>), Failure> {
        let (deployment, mistakes) = folder.usable_deployment::<Deployment>();
        let (sources, unusable) = Source::load_usable(folder);
        let findings = mistakes.into_iter().map(|mistake| Finding::error(mistake.0)).chain(unusable).collect();
        let settings = deployment.as_ref().map_or_else(EngineSettings::default, |deployment| deployment.engine.clone());
        // A lake that is only read is not made where there is none.
        let lake = deployment.as_ref().map(|deployment| LakeSettings { read_only: true, ..deployment.lake.clone() });
        let lake = lake.and_then(|settings| Lake::open(folder.root(), &settings).map_err(|error| unread(&error)).ok());
        Ok((Self { library: Library::load(folder.root())?, settings, deployment, sources, lake }, findings))
    }

    /// The SQL files.
    pub(super) fn library(&self) -> &Library {
        &self.library
    }

    /// The sources.
    pub(super) fn sources(&self) -> &[Source] {
        &self.sources
    }

    /// The deployment, as far as it can be used.
    pub(super) fn deployment(&self) -> Option<&Deployment> {
        self.deployment.as_ref()
    }

    /// All tables with their columns, and all staging files with theirs: every SQL file is planned once. A file that cannot be planned has
    /// no columns, and stands in the findings.
    ///
    /// # Errors
    /// Where the engine's settings do not fit.
    pub(super) async fn described(&self) -> Result<(Vec<TableColumns>, Vec<Finding>), Failure> {
        let engine = Engine::new(self.library.root(), &self.settings)?;
        let planned = self.library.plan(&engine, &raw_schemas(&self.sources)).await;
        let mut described = Vec::new();
        for entry in self.all().await {
            let fixed = fixed().into_iter().find(|table| table.name == entry.table);
            let file = self.library.get(&entry.table).filter(|file| file.kind == entry.kind);
            described.push(match (fixed, file) {
                (Some(table), _) => of_program(entry, &table),
                (None, Some(file)) => of_file(entry, file, planned.columns.get(&file.name)),
                (None, None) => {
                    let columns = self.raw(&entry.table).await.unwrap_or_else(|failure| {
                        tracing::warn!(table = entry.table, %failure, "its columns cannot be read");
                        Vec::new()
                    });
                    TableColumns { entry, key: Vec::new(), columns, staging: Vec::new() }
                }
            });
        }
        let staging = self.library.files().filter(|file| file.kind == Kind::Staging);
        described.extend(staging.map(|file| of_file(entry_of(file), file, planned.columns.get(&file.name))));
        Ok((described, planned.findings))
    }

    /// All tables: those every project has, the SQL files' by name, then those of the sources.
    pub async fn all(&self) -> Vec<TableEntry> {
        let mut entries = self.declared();
        let known: BTreeSet<String> = entries.iter().map(|entry| entry.table.clone()).collect();
        let kept = match &self.lake {
            Some(lake) => lake.tables().await.unwrap_or_else(|error| {
                unread(&error);
                Vec::new()
            }),
            None => Vec::new(),
        };
        let left = kept.into_iter().filter(|table| table.contains("__") && !known.contains(table));
        entries.extend(left.map(|table| TableEntry {
            table,
            kind: Kind::Raw,
            description: Some("In the lake; no source fills it any more.".to_owned()),
            files: Vec::new(),
        }));
        entries
    }

    /// A table's columns: what they are called, of which type they are, what they hold.
    ///
    /// # Errors
    /// Where there is no such table, with the nearest name; where it or what it rests on cannot be planned.
    pub async fn columns(&self, name: &str, also_known: &[&str]) -> Result<TableColumns, Failure> {
        let all = self.all().await;
        let Some(entry) = all.iter().find(|entry| entry.table == name).cloned() else {
            return Err(self.unknown(name, all.iter().map(|entry| entry.table.as_str()).chain(also_known.iter().copied())));
        };
        if let Some(table) = fixed().into_iter().find(|table| table.name == name) {
            return Ok(of_program(entry, &table));
        }
        if let Some(file) = self.library.get(name).filter(|_| entry.kind != Kind::Raw) {
            let engine = Engine::new(self.library.root(), &self.settings)?;
            let schema = self.library.schema_of(&engine, &raw_schemas(&self.sources), name).await?;
            return Ok(of_file(entry, file, Some(&schema)));
        }
        let columns = self.raw(name).await?;
        Ok(TableColumns { entry, key: Vec::new(), columns, staging: Vec::new() })
    }

    /// The columns of a raw table: those it has in the lake, and those its source declares.
    async fn raw(&self, name: &str) -> Result<Vec<ColumnEntry>, Failure> {
        let told = |schema: &Schema| columns(schema, |_| false, |column| source::made_column(name, column).map(str::to_owned));
        let declared = raw_schemas(&self.sources).remove(name).map(|schema| told(&schema)).unwrap_or_default();
        let kept = match &self.lake {
            Some(lake) => match lake.latest(name).await {
                Ok(Some(version)) => Some(told(&*lake.schema(name, Some(version)).await?)),
                Ok(None) => None,
                Err(error) => {
                    unread(&error);
                    None
                }
            },
            None => None,
        };
        let Some(mut columns) = kept else { return Ok(declared) };
        let fresh: Vec<ColumnEntry> = declared.into_iter().filter(|one| columns.iter().all(|column| column.name != one.name)).collect();
        columns.extend(fresh.into_iter().map(|column| ColumnEntry { description: Some("comes with the next pull".to_owned()), ..column }));
        Ok(columns)
    }

    /// The tables that files tell of.
    fn declared(&self) -> Vec<TableEntry> {
        let made = fixed().into_iter().map(|table| {
            let files = self.library.files().filter(|file| file.staged().is_some_and(|(_, staged)| staged == table.name));
            TableEntry {
                table: table.name.to_owned(),
                kind: self.library.kind(table.name).unwrap_or(Kind::Canonical),
                description: Some(table.about.to_owned()),
                files: files.map(|file| file.path.clone()).collect(),
            }
        });
        let written = self.library.files().filter(|file| file.kind != Kind::Staging).map(entry_of);
        let pulled = self.sources.iter().flat_map(|source| {
            source.schemas().into_keys().map(|table| TableEntry {
                description: Some(source.describe(&table)),
                table,
                kind: Kind::Raw,
                files: vec![source.file().to_owned()],
            })
        });
        let mut entries: Vec<TableEntry> = made.chain(written).chain(pulled).collect();
        entries.sort_by_key(|entry| KINDS.iter().position(|kind| *kind == entry.kind));
        entries
    }

    fn unknown<'a>(&self, name: &str, known: impl Iterator<Item = &'a str>) -> Failure {
        let diagnosis = Diagnosis::new("unknown_name", format!("there is no table `{name}`, nor a kind of file of that name"));
        let staged = self.library.get(name).and_then(|file| Some((file, file.staged()?.1)));
        Failure::wrong(diagnosis.hint(match (staged, nearest(name, known)) {
            (Some((file, table)), _) => format!("{} is part of `{table}`: perennial schema {table}", file.path.display()),
            (None, Some(near)) => format!("did you mean `{near}`?"),
            (None, None) => "`perennial schema` lists them".to_owned(),
        }))
    }
}

fn unread(error: &LakeError) {
    tracing::warn!(%error, "the lake cannot be read: raw tables are told as their sources declare them");
}

/// The tables every project has.
fn fixed() -> Vec<Table> {
    canonical_tables().into_iter().chain(ledger_tables()).collect()
}

fn entry_of(file: &SqlFile) -> TableEntry {
    TableEntry { table: file.name.clone(), kind: file.kind, description: file.front.description.clone(), files: vec![file.path.clone()] }
}

/// The table of a file that returns these columns; without them, what the file says of itself.
fn of_file(entry: TableEntry, file: &SqlFile, schema: Option<&SchemaRef>) -> TableColumns {
    let filled = file.never_null();
    let meaning = |column: &str| file.columns.get(column).cloned().or_else(|| file.staged_column(column).map(str::to_owned));
    let columns = schema.map(|schema| columns(schema, |column| filled.contains(column), meaning)).unwrap_or_default();
    TableColumns { entry, key: file.front.key.clone(), columns, staging: Vec::new() }
}

fn of_program(entry: TableEntry, table: &Table) -> TableColumns {
    let told = |schema: &Schema| {
        let filled = |column: &str| table.key.contains(&column);
        columns(schema, filled, |column| table.description(column).map(str::to_owned))
    };
    TableColumns {
        key: table.key.iter().map(|column| (*column).to_owned()).collect(),
        columns: told(&table.schema),
        staging: told(&table.extra_columns()),
        entry,
    }
}

fn columns(schema: &Schema, filled: impl Fn(&str) -> bool, description: impl Fn(&str) -> Option<String>) -> Vec<ColumnEntry> {
    let columns = schema.fields().iter().map(|field| ColumnEntry {
        name: field.name().clone(),
        kind: words(field.data_type()),
        nullable: filled(field.name()).then_some(false),
        description: description(field.name()),
    });
    columns.collect()
}

/// A type in the words of a source's `columns`.
pub(super) fn words(kind: &DataType) -> String {
    match kind {
        DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View => "text".to_owned(),
        DataType::Int64 => "integer".to_owned(),
        DataType::Float64 => "float".to_owned(),
        DataType::Decimal128(precision, scale) => format!("decimal({precision},{scale})"),
        DataType::Boolean => "boolean".to_owned(),
        DataType::Date32 => "date".to_owned(),
        DataType::Timestamp(..) => "timestamp".to_owned(),
        DataType::Binary => "binary".to_owned(),
        DataType::List(item) | DataType::LargeList(item) => format!("[{}]", words(item.data_type())),
        DataType::Struct(parts) => {
            let parts: Vec<String> = parts.iter().map(|part| format!("{} = {}", part.name(), words(part.data_type()))).collect();
            format!("{{ {} }}", parts.join(", "))
        }
        other => other.to_string(),
    }
}

/// The text up to the end of its first sentence.
#[must_use]
pub fn first_sentence(text: &str) -> &str {
    let end = text.match_indices(['.', '?', '!']).map(|(at, mark)| at + mark.len());
    let end = end.into_iter().find(|end| text[*end..].starts_with(char::is_whitespace));
    // A blank line ends it, too.
    let blank = text.find("\n\n");
    text[..end.into_iter().chain(blank).min().unwrap_or(text.len())].trim()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::datatypes::Field;

    use super::*;
    use crate::project::init;

    fn practice() -> (tempfile::TempDir, Folder) {
        let root = tempfile::tempdir().unwrap();
        init(root.path(), &[]).unwrap();
        let folder = Folder::new(root.path(), None, std::iter::empty());
        (root, folder)
    }

    #[tokio::test]
    async fn every_table_is_told_in_a_line_and_planned_without_a_lake() {
        let (root, folder) = practice();
        let tables = Tables::open(&folder).unwrap();
        let all = tables.all().await;
        for entry in &all {
            assert!(!entry.sentence().is_empty() && !entry.sentence().contains('\n'), "{entry:?}");
            let told = tables.columns(&entry.table, &[]).await.unwrap();
            assert!(!told.columns.is_empty() && told.key.iter().all(|key| told.columns.iter().any(|column| column.name == *key)));
        }
        assert_eq!(all.iter().map(|entry| entry.kind).collect::<BTreeSet<_>>(), BTreeSet::from(KINDS));
        assert!(!root.path().join("data/lake").exists());
    }

    #[tokio::test]
    async fn columns_are_told_with_type_and_meaning() {
        let (_root, folder) = practice();
        let tables = Tables::open(&folder).unwrap();
        let orders = tables.columns("orders", &[]).await.unwrap();
        let total = orders.columns.iter().find(|column| column.name == "total").unwrap();
        assert_eq!((total.kind.as_str(), total.nullable), ("decimal(18,4)", None));
        assert_eq!(orders.columns[0].nullable, Some(false), "a key is never null");
        assert_eq!(orders.entry.files, [PathBuf::from("sql/staging/shop__orders.sql")]);
        assert!(orders.staging.iter().any(|column| column.name == "refunded"));
        let features = tables.columns("customer_features", &[]).await.unwrap();
        let tier = features.columns.iter().find(|column| column.name == "tier").unwrap();
        assert_eq!((tier.kind.as_str(), tier.nullable), ("text", Some(false)), "an audit says so");
        let raw = tables.columns("shop__orders", &[]).await.unwrap();
        assert!(raw.columns.iter().any(|column| column.name == "_pulled_at" && column.description.is_some()));
    }

    #[tokio::test]
    async fn a_raw_table_has_the_columns_of_the_lake_and_those_to_come() {
        let (root, folder) = practice();
        let lake = Lake::open(root.path(), &LakeSettings::default()).unwrap();
        let kept = Schema::new(vec![Field::new("id", DataType::Utf8, true), Field::new("shade", DataType::Int64, true)]);
        lake.ensure("shop__products", Arc::new(kept.clone())).await.unwrap();
        lake.ensure("old__orders", Arc::new(kept)).await.unwrap();
        let tables = Tables::open(&folder).unwrap();
        let products = tables.columns("shop__products", &[]).await.unwrap();
        let told = |name: &str| products.columns.iter().find(|column| column.name == name).unwrap().description.clone();
        assert_eq!((told("shade"), told("price")), (None, Some("comes with the next pull".to_owned())));
        assert_eq!(tables.columns("old__orders", &[]).await.unwrap().columns.len(), 2, "no source fills it any more");
    }

    #[tokio::test]
    async fn an_unknown_name_is_told_with_the_nearest() {
        let (_root, folder) = practice();
        let tables = Tables::open(&folder).unwrap();
        let hint = async |name: &str| tables.columns(name, &["campaign"]).await.unwrap_err().diagnosis.hint.unwrap();
        assert_eq!(hint("ordres").await, "did you mean `orders`?");
        assert_eq!(hint("campaing").await, "did you mean `campaign`?");
        assert_eq!(hint("nothing_like_it").await, "`perennial schema` lists them");
    }

    #[test]
    fn a_sentence_ends_where_a_reader_would_end_it() {
        for (text, sentence) in [
            ("One. Two.", "One."),
            ("Month by month: do they come back?\n\nRepeat rate: of …", "Month by month: do they come back?"),
            ("At 9.30 a day begins", "At 9.30 a day begins"),
            ("A title\n\nand more. Words.", "A title"),
            ("", ""),
        ] {
            assert_eq!(first_sentence(text), sentence);
        }
    }
}
