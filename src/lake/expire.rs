//! Which files of a table nobody can ask for any more.
//!
//! A version is needed while it is the newest, while it is pinned, and while it was the newest at some moment of the keep period. A file is
//! needed while one of those versions holds it. What no version ever held (a killed process left it) goes once it is older than the keep
//! period, so that a write under way elsewhere is not disturbed.

use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use super::{
    Expired, LakeError,
    log::{LOG, Lifetime, Memory, Snapshot, memory},
};

/// Removes what is not needed. Blocking.
pub(super) fn expire(folder: &Path, newest: &Snapshot, cutoff: DateTime<Utc>, pinned: &[i64]) -> Result<Expired, LakeError> {
    let Memory { files, commits } = memory(folder, newest)?;
    let needed = needed(&commits, newest.version, cutoff, pinned);
    let mut expired = Expired::default();
    for (path, modified, bytes) in data_files(folder)? {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if goes(files.get(name), &needed, modified, cutoff) {
            std::fs::remove_file(&path).map_err(LakeError::io(&path))?;
            expired.files += 1;
            expired.bytes += bytes;
        }
    }
    Ok(expired)
}

/// The versions somebody can ask for.
fn needed(commits: &[(i64, DateTime<Utc>)], newest: i64, cutoff: DateTime<Utc>, pinned: &[i64]) -> Vec<i64> {
    let mut needed: Vec<i64> =
        commits.windows(2).filter(|pair| pair[1].1 >= cutoff).map(|pair| pair[0].0).chain(pinned.iter().copied()).chain([newest]).collect();
    needed.sort_unstable();
    needed.dedup();
    needed
}

/// Whether a file goes, by its lifetime in the log; without one nobody ever named it.
fn goes(lifetime: Option<&Lifetime>, needed: &[i64], modified: DateTime<Utc>, cutoff: DateTime<Utc>) -> bool {
    match lifetime {
        Some(Lifetime { added, removed }) => {
            !needed.iter().any(|version| version >= added && removed.is_none_or(|removed| *version < removed))
        }
        None => modified < cutoff,
    }
}

/// The files beside the log, with their age and size.
fn data_files(folder: &Path) -> Result<Vec<(PathBuf, DateTime<Utc>, u64)>, LakeError> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(LakeError::io(folder))? {
        let path = entry.map_err(LakeError::io(folder))?.path();
        let metadata = std::fs::metadata(&path).map_err(LakeError::io(&path))?;
        if metadata.is_file() && !path.ends_with(LOG) {
            let modified = metadata.modified().map_err(LakeError::io(&path))?;
            files.push((path, modified.into(), metadata.len()));
        }
    }
    Ok(files)
}
