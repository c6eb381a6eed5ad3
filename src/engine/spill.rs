//! Where queries put what does not fit in memory: a folder of this process, which a later process removes should this one be killed.

use std::{
    fs::File,
    path::{Path, PathBuf},
    sync::Arc,
};

const LOCK: &str = ".lock";

/// A folder that lasts as long as the engine.
#[derive(Debug)]
pub(super) struct SpillFolder {
    path: PathBuf,
    _lock: File,
}

impl SpillFolder {
    /// Makes a folder under `root`, after removing those of dead processes.
    pub(super) fn new(root: &Path) -> std::io::Result<Arc<Self>> {
        std::fs::create_dir_all(root)?;
        sweep(root)?;
        let mut number = 0;
        let path = loop {
            let path = root.join(format!("{}-{number}", std::process::id()));
            match std::fs::create_dir(&path) {
                Ok(()) => break path,
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => number += 1,
                Err(error) => return Err(error),
            }
        };
        let lock = File::create(path.join(LOCK))?;
        lock.lock()?;
        Ok(Arc::new(Self { path: std::path::absolute(path)?, _lock: lock }))
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SpillFolder {
    fn drop(&mut self) {
        // What cannot be removed now, the next process sweeps.
        let _ = std::fs::remove_dir_all(&self.path);
    }
}

/// Removes the folders nobody holds the lock of.
fn sweep(root: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(root)? {
        let path = entry?.path();
        // A folder without its lock is just being made.
        if let Ok(lock) = File::open(path.join(LOCK))
            && lock.try_lock().is_ok()
        {
            let _ = std::fs::remove_dir_all(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_of_a_dead_process_is_swept_and_that_of_a_living_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let dead = root.path().join("1-0");
        std::fs::create_dir(&dead).unwrap();
        std::fs::write(dead.join(LOCK), "").unwrap();
        std::fs::write(dead.join("rows"), "").unwrap();
        let living = SpillFolder::new(root.path()).unwrap();
        let other = SpillFolder::new(root.path()).unwrap();
        assert!(!dead.exists());
        assert!(living.path().exists() && other.path().exists());
        drop(living);
        drop(other);
        assert_eq!(std::fs::read_dir(root.path()).unwrap().count(), 0);
    }
}
