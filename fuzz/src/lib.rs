//! What the fuzz targets share.

pub mod promises;

use std::{path::Path, sync::OnceLock, thread};

use promises::{Project, STACK};

/// Asks whether a promise holds of a text; ends the process where it does not.
pub fn ask(text: &[u8], promise: fn(&Project, &str) -> Result<(), String>) {
    static PROJECT: OnceLock<Project> = OnceLock::new();
    let project = PROJECT.get_or_init(|| {
        let root = std::env::temp_dir().join(format!("perennial-fuzz-{}", std::process::id()));
        Project::new(&root, Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap())
    });
    let text = String::from_utf8_lossy(text);
    let held = thread::scope(|scope| {
        let deep = thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || promise(project, &text));
        deep.unwrap().join().unwrap()
    });
    if let Err(broken) = held {
        panic!("{broken}");
    }
}
