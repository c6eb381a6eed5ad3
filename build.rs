//! Embeds the project folder that `perennial init` writes: this repository's own `config`, `jobs` and `sql`, and the presets.

use std::{
    env,
    fmt::Write,
    fs, io,
    path::{Path, PathBuf},
};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut list = String::from("[\n");
    for folder in ["config", "jobs", "sql", "src/project/presets"] {
        println!("cargo::rerun-if-changed={folder}");
        embed(Path::new(&root), Path::new(folder), &mut list)?;
    }
    list.push(']');
    fs::write(Path::new(&out).join("project_files.rs"), list)?;
    fs::write(Path::new(&out).join("presets.rs"), presets(Path::new(&root))?)
}

/// The sources of all presets, by name.
fn presets(root: &Path) -> io::Result<String> {
    let mut list = String::from("[\n");
    for preset in sorted(&root.join("src/project/presets"))? {
        let sources = preset.join("config/sources");
        for source in if sources.is_dir() { sorted(&sources)? } else { vec![] } {
            let path = source.strip_prefix(root).unwrap_or(&source);
            let _ = writeln!(list, "    ({:?}, {}),", source.file_stem().unwrap_or_default(), text_of(path));
        }
    }
    list.push(']');
    Ok(list)
}

/// The compiler finds the file, so that checkouts that share a target directory do not read each other's.
fn text_of(path: &Path) -> String {
    let path = Path::new("/").join(path);
    format!("include_str!(concat!(env!(\"CARGO_MANIFEST_DIR\"), {path:?}))")
}

fn sorted(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut entries: Vec<PathBuf> = fs::read_dir(folder)?.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
    entries.sort();
    Ok(entries)
}

fn embed(root: &Path, folder: &Path, list: &mut String) -> io::Result<()> {
    for entry in sorted(&root.join(folder))? {
        let path = folder.join(entry.file_name().unwrap_or_default());
        if entry.is_dir() {
            embed(root, &path, list)?;
        } else {
            let _ = writeln!(list, "    ({path:?}, {}),", text_of(&path));
        }
    }
    Ok(())
}
