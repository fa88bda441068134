//! Embeds the dashboard: what `make dashboard` left in `target/dashboard`, else the page in
//! `src/http/dashboard/missing` that says how to get it.
//!
//! Writes a table of files, each with its compressed forms when they are there, which
//! `src/http/dashboard/assets.rs` includes.

use std::error::Error;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{env, fs};

const BUILT: &str = "target/dashboard";
const MISSING: &str = "src/http/dashboard/missing";

fn main() -> Result<(), Box<dyn Error>> {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").ok_or("cargo sets it")?);
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets it")?);
    let built = root.join(BUILT);
    // A watched path that is not there would have cargo build everything again each time.
    let _ = fs::create_dir_all(&built);
    for watched in [BUILT, MISSING, "build.rs"] {
        println!("cargo::rerun-if-changed={watched}");
    }
    let is_built = built.join("index.html").is_file();
    let from = if is_built { built } else { root.join(MISSING) };
    let mut files = vec![from.join("index.html")];
    for entry in fs::read_dir(from.join("assets"))? {
        let path = entry?.path();
        if !path.extension().is_some_and(|kind| kind == "br" || kind == "gz") {
            files.push(path);
        }
    }
    files.sort();
    let mut table = format!("#[cfg(test)]\npub(super) const IS_BUILT: bool = {is_built};\n");
    table.push_str("pub(super) static FILES: &[File] = &[\n");
    for file in &files {
        let name = file.file_name().and_then(|name| name.to_str()).ok_or("names are plain")?;
        writeln!(
            table,
            "    File {{ name: {name:?}, plain: include_bytes!({file:?}), brotli: {}, gzip: {} }},",
            compressed(file, "br"),
            compressed(file, "gz"),
        )?;
    }
    table.push_str("];\n");
    fs::write(out.join("dashboard.rs"), table)?;
    Ok(())
}

/// The expression for a compressed form of a file.
fn compressed(file: &Path, ending: &str) -> String {
    let mut path = file.as_os_str().to_owned();
    path.push(format!(".{ending}"));
    match Path::new(&path).is_file() {
        true => format!("Some(include_bytes!({path:?}))"),
        false => "None".to_owned(),
    }
}
