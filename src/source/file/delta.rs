//! A Delta table among the files of a source: one version of it, as the Delta library reads it, so that partitions, deletion vectors and
//! columns under other names come as they are meant.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use datafusion::{
    catalog::TableProvider,
    common::Column,
    execution::SendableRecordBatchStream,
    logical_expr::Expr,
    prelude::{SessionConfig, SessionContext},
};
use deltalake::{DeltaTable, DeltaTableBuilder, DeltaTableError};
use serde_json::Value;
use url::Url;

use super::remote::{AGAIN, Remote, Trouble, told};

/// What is remembered of a table between two pulls: which one it was, and its version.
const ID: &str = "id";
const VERSION: &str = "version";

/// A table at its newest version.
pub(super) struct Table {
    delta: DeltaTable,
    /// As people know it.
    name: String,
    id: String,
    version: u64,
    pub(super) files: u64,
}

/// Which rows are due.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    All,
    /// Those of these files: since the version that was read last, nothing was done but add files.
    Added(Vec<String>),
    Nothing,
}

impl Due {
    /// In a word, for the log.
    pub(super) fn name(&self) -> &'static str {
        match self {
            Self::All => "everything",
            Self::Added(_) => "added files",
            Self::Nothing => "nothing",
        }
    }
}

impl Table {
    /// Opens the table at `path`; `None` where there is none.
    pub(super) async fn open(remote: Option<&Remote>, root: &Path, path: &str) -> Result<Option<Self>, Trouble> {
        let mut delta = match remote {
            Some(Remote::Bucket(bucket)) => match bucket.table().await? {
                Some(delta) => delta,
                None => return Ok(None),
            },
            Some(Remote::Web(_)) => return Ok(None),
            None => {
                let folder = std::path::absolute(root.join(path)).unwrap_or_else(|_| root.join(path));
                if !is_table(&folder) {
                    return Ok(None);
                }
                let Ok(url) = Url::from_directory_path(&folder) else { return Ok(None) };
                DeltaTableBuilder::from_url(url).and_then(DeltaTableBuilder::build).map_err(|error| unreadable(remote, path, &error))?
            }
        };
        delta.load().await.map_err(|error| unreadable(remote, path, &error))?;
        let state = delta.snapshot().map_err(|error| unreadable(remote, path, &error))?;
        let (id, version, files) = (state.metadata().id().to_owned(), state.version(), state.log_data().num_files() as u64);
        Ok(Some(Self { name: path.to_owned(), id, version, files, delta }))
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// What the next pull has to know of this one.
    pub(super) fn stamp(&self) -> BTreeMap<String, String> {
        BTreeMap::from([(ID.to_owned(), self.id.clone()), (VERSION.to_owned(), self.version.to_string())])
    }

    /// What is due after a pull that left `stamp`.
    pub(super) async fn due(&self, stamp: &BTreeMap<String, String>) -> Due {
        let known = stamp.get(VERSION).and_then(|version| version.parse::<u64>().ok());
        let known = known.filter(|known| stamp.get(ID) == Some(&self.id) && *known <= self.version);
        let Some(known) = known else { return Due::All };
        let mut added = Vec::new();
        for version in known + 1..=self.version {
            // What the log has forgotten, or says in other words, may be anything.
            let Ok(Some(commit)) = self.delta.log_store().read_commit_entry(version).await else { return Due::All };
            match additions(&commit) {
                Some(files) => added.extend(files),
                None => return Due::All,
            }
        }
        if added.is_empty() { Due::Nothing } else { Due::Added(added) }
    }

    /// The table with all its rows, or those of some files.
    pub(super) async fn provider(&self, due: Due) -> Result<Arc<dyn TableProvider>, Trouble> {
        let mut provider = self.delta.table_provider();
        if let Due::Added(files) = due {
            provider = provider.with_file_paths(files);
        }
        match provider.build().await {
            Ok(provider) => Ok(Arc::new(provider)),
            Err(error) => Err(wrong(&self.name, &error.to_string())),
        }
    }

    /// Some of its columns, batch by batch, one file after the other.
    pub(super) async fn rows(
        &self,
        provider: Arc<dyn TableProvider>,
        columns: Vec<String>,
        batch: usize,
    ) -> Result<SendableRecordBatchStream, Trouble> {
        let context = SessionContext::new_with_config(SessionConfig::new().with_target_partitions(1).with_batch_size(batch));
        self.delta.update_datafusion_session(&context.state()).map_err(|error| wrong(&self.name, &error.to_string()))?;
        let wanted = columns.into_iter().map(|name| Expr::Column(Column::from_name(name)));
        let rows = async { context.read_table(provider)?.select(wanted.collect::<Vec<_>>())?.execute_stream().await };
        rows.await.map_err(|error| wrong(&self.name, &error.to_string()))
    }
}

/// Whether a folder holds a Delta table.
pub(super) fn is_table(folder: &Path) -> bool {
    folder.join("_delta_log").is_dir()
}

/// The files that a commit adds; `None` where it does anything else that changes what stands in the table.
fn additions(commit: &[u8]) -> Option<Vec<String>> {
    let mut files = Vec::new();
    for line in commit.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(u8::is_ascii_whitespace)) {
        let Value::Object(action) = serde_json::from_slice(line).ok()? else { return None };
        for (kind, what) in action {
            match kind.as_str() {
                "add" if what["dataChange"] == true => files.push(what["path"].as_str()?.to_owned()),
                "commitInfo" | "txn" | "domainMetadata" => {}
                // Files taken away or put together, other columns, another way of reading.
                _ => return None,
            }
        }
    }
    Some(files)
}

fn unreadable(remote: Option<&Remote>, name: &str, error: &DeltaTableError) -> Trouble {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(deeper) = cause {
        if let (Some(error), Some(Remote::Bucket(bucket))) = (deeper.downcast_ref::<object_store::Error>(), remote) {
            return bucket.broken(error);
        }
        cause = deeper.source();
    }
    wrong(name, &error.to_string())
}

/// What the Delta library says, which names features that it cannot read.
pub(super) fn wrong(name: &str, words: &str) -> Trouble {
    let words: String = words.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(300).collect();
    told(format!("the Delta table `{name}` cannot be read: {words}"), AGAIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_commits_that_add_and_nothing_else_are_read_alone() {
        let add = |path: &str| format!("{{\"add\": {{\"path\": \"{path}\", \"dataChange\": true}}}}");
        let info = "{\"commitInfo\": {}}";
        let read = |lines: &[&str]| additions(lines.join("\n").as_bytes());
        assert_eq!(read(&[info, &add("a"), &add("b"), ""]), Some(vec!["a".to_owned(), "b".to_owned()]));
        assert_eq!(read(&[info]), Some(vec![]));
        for other in [
            "{\"remove\": {\"path\": \"x\"}}",
            "{\"metaData\": {}}",
            "{\"protocol\": {}}",
            "{\"add\": {\"path\": \"c\", \"dataChange\": false}}",
            "{\"cdc\": {}}",
            "no JSON",
        ] {
            assert_eq!(read(&[&add("a"), other]), None, "{other}");
        }
    }
}
