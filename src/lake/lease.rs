//! One writer at a time: a lock of the operating system on one file, gone with the process however it ends.

use std::{
    fs::{File, OpenOptions, TryLockError},
    path::Path,
};

use super::LakeError;

const LOCK: &str = ".writer.lock";

/// While it lives, this process alone may write to the lake.
#[derive(Debug)]
pub struct WriteLease(#[allow(dead_code, reason = "the lock lasts as long as the open file")] File);

impl WriteLease {
    pub(super) fn take(root: &Path) -> Result<Self, LakeError> {
        let path = root.join(LOCK);
        let file = OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(LakeError::io(&path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(LakeError::Busy),
            Err(TryLockError::Error(error)) => Err(LakeError::io(&path)(error)),
        }
    }
}
