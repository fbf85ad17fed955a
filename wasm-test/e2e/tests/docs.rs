//! The documents say what is there.

use std::path::{Path, PathBuf};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// What stands between backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_path_that_the_architecture_names_exists() {
    let text = read("ARCHITECTURE.md");
    let mut seen = 0;
    for path in
        quoted(&text).filter(|path| path.contains('/') && !path.contains(' ') && !path.starts_with('/'))
    {
        assert!(root().join(path).exists(), "ARCHITECTURE.md names {path}");
        seen += 1;
    }
    assert!(seen > 20);
    for file in quoted(&text).filter(|path| path.ends_with(".rs") && !path.contains('/')) {
        assert!(root().join("filters/common/src").join(file).exists(), "ARCHITECTURE.md names {file}");
    }
}

#[test]
fn every_link_of_a_readme_leads_somewhere() {
    let examples = std::fs::read_dir(root().join("envoy/examples")).unwrap();
    let examples = examples.map(|entry| entry.unwrap().path()).filter(|path| path.join("run").is_file());
    let examples =
        examples.map(|path| format!("envoy/examples/{}/README.md", path.file_name().unwrap().display()));
    let documents = [
        "README.md",
        "cli/README.md",
        "envoy/istio/README.md",
        "envoy/README.md",
        "envoy/examples/identity-sidecar/README.md",
        "envoy/examples/service-routing/README.md",
        "local/README.md",
        "terraform/README.md",
        "wasm-test/README.md",
        "filters/form-to-json/README.md",
    ];
    for readme in documents.map(str::to_owned).into_iter().chain(examples) {
        let text = read(&readme);
        let directory = root().join(&readme).parent().map(Path::to_path_buf).unwrap_or_default();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if !target.starts_with("http") && !target.starts_with('#') {
                let file = target.split('#').next().unwrap_or_default();
                assert!(directory.join(file).exists(), "{readme} links to {target}");
            }
        }
    }
}

#[test]
fn every_variable_of_the_readme_is_read_by_the_tool() {
    let (_, table) = read("README.md")
        .split_once("| variable | what it is |")
        .map(|(a, b)| (a.to_owned(), b.to_owned()))
        .unwrap_or_default();
    let config = read("envoy/lockgate.yaml");
    let rows = table.lines().take_while(|line| line.is_empty() || line.starts_with('|'));
    let names: Vec<String> = rows
        .filter_map(|row| row.split('|').nth(1))
        .flat_map(|cell| quoted(cell).map(str::to_owned).collect::<Vec<_>>())
        .collect();
    assert!(names.len() > 8, "{names:?}");
    for name in names {
        assert!(config.contains(&name), "the shipped configuration does not use {name}");
    }
}
