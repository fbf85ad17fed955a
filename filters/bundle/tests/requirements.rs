//! The table of what a relying party must do names tests that exist.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::fs;
use std::path::{Path, PathBuf};

/// The sources of a test: its file, and what is in the directory of that name.
fn sources(directory: &Path, name: &str) -> Vec<PathBuf> {
    let inside = fs::read_dir(directory.join(name)).into_iter().flatten();
    let files = inside.map(|entry| entry.unwrap().path());
    files.chain([directory.join(format!("{name}.rs"))]).collect()
}

#[test]
fn every_requirement_names_a_test_that_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let table = fs::read_to_string(root.join("filters/oidc/REQUIREMENTS.md")).unwrap();
    let named: Vec<&str> =
        table.split('`').skip(1).step_by(2).filter(|quoted| quoted.contains("::")).collect();
    assert!(named.len() > 40);
    for name in named {
        let (place, test) = name.split_once("::").unwrap();
        let (kind, file) = place.split_once('/').unwrap();
        let directory = root.join(if kind == "e2e" { "wasm-test/e2e/tests" } else { "filters/bundle/tests" });
        let wanted = format!("fn {test}(");
        let found = sources(&directory, file)
            .iter()
            .any(|path| fs::read_to_string(path).is_ok_and(|source| source.contains(&wanted)));
        assert!(found, "{name} does not exist");
    }
}
