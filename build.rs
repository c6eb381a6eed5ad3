//! Embeds the project folder that `perennial init` writes: this repository's own `config`, `jobs` and `sql`, and the presets.

use std::{env, fmt::Write, fs, io, path::Path};

fn main() -> io::Result<()> {
    let root = env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?;
    let out = env::var("OUT_DIR").map_err(io::Error::other)?;
    let mut list = String::from("[\n");
    for folder in ["config", "jobs", "sql", "src/project/presets"] {
        println!("cargo::rerun-if-changed={folder}");
        embed(Path::new(&root), Path::new(folder), &mut list)?;
    }
    list.push(']');
    fs::write(Path::new(&out).join("project_files.rs"), list)
}

fn embed(root: &Path, folder: &Path, list: &mut String) -> io::Result<()> {
    let mut entries: Vec<_> = fs::read_dir(root.join(folder))?.collect::<Result<_, _>>()?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let path = folder.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            embed(root, &path, list)?;
        } else {
            let _ = writeln!(list, "    ({:?}, include_str!({:?})),", path, root.join(&path));
        }
    }
    Ok(())
}
