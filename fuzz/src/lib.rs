//! What the fuzz targets share.

pub mod mail;
pub mod promises;

use std::{
    path::{Path, PathBuf},
    sync::OnceLock,
    thread,
};

use mail::House;
use promises::{Project, STACK};

/// Asks whether a promise holds of a text; ends the process where it does not.
pub fn ask(text: &[u8], promise: fn(&Project, &str) -> Result<(), String>) {
    static PROJECT: OnceLock<Project> = OnceLock::new();
    let project = PROJECT.get_or_init(|| Project::new(&folder(), Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap()));
    let text = String::from_utf8_lossy(text);
    let held = thread::scope(|scope| {
        let deep = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || promise(project, &text));
        deep.unwrap().join().unwrap()
    });
    if let Err(broken) = held {
        panic!("{broken}");
    }
}

/// Asks whether a promise holds of bytes; ends the process where it does not.
pub fn hold(bytes: &[u8], promise: fn(&House, &[u8]) -> Result<(), String>) {
    static HOUSE: OnceLock<House> = OnceLock::new();
    let house = HOUSE.get_or_init(|| {
        std::fs::create_dir_all(folder()).unwrap();
        House::new(&folder())
    });
    if let Err(broken) = promise(house, bytes) {
        panic!("{broken}");
    }
}

fn folder() -> PathBuf {
    std::env::temp_dir().join(format!("perennial-fuzz-{}", std::process::id()))
}
