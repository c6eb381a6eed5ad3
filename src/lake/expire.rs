//! Which files of a table nobody can ask for any more.
//!
//! A version is needed while it is the newest, while it is pinned, and while it was the newest at some moment of the keep period. A file is
//! needed while one of those versions holds it. What no version ever held (a killed process left it) goes once it is older than the keep
//! period, so that a write under way elsewhere is not disturbed.

use chrono::{DateTime, Utc};

use super::{
    Expired, LakeError,
    folder::Folder,
    log::{Lifetime, Memory, Snapshot, memory},
};

/// Removes what is not needed.
pub(super) async fn expire(folder: &Folder, newest: &Snapshot, cutoff: DateTime<Utc>, pinned: &[i64]) -> Result<Expired, LakeError> {
    let Memory { files, commits } = memory(folder, newest).await?;
    let needed = needed(&commits, newest.version, cutoff, pinned);
    let mut expired = Expired::default();
    for (name, modified, bytes) in folder.files().await? {
        if goes(files.get(&name), &needed, modified, cutoff) {
            folder.remove(&name).await?;
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
