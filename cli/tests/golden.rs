//! The rendered configuration, byte for byte, and what real Envoy says of it. `UPDATE_GOLDEN=1`
//! rewrites the files; `ENVOY` names the Envoy that checks them.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use lockgate::config::{self, Environment};
use support::{MARKERS, NOTHING, everything, render, root};

struct Case {
    name: &'static str,
    text: String,
    environment: Environment,
}

fn cases() -> Vec<Case> {
    let example = |name: &str| std::fs::read_to_string(root().join("envoy/examples").join(name)).unwrap();
    let case = |name, text| Case { name, text, environment: everything() };
    let mut laptop = everything();
    for (name, value) in [
        ("LISTEN_ADDRESS", "127.0.0.1"),
        ("PUBLIC_URL", "http://127.0.0.1:8080"),
        ("TRUSTED_HOPS", "0"),
        ("UPSTREAM_URL", "http://127.0.0.1:8090"),
        ("GOOGLE_API_BASE", "http://127.0.0.1:8085"),
        ("METADATA_BASE", "http://127.0.0.1:8085"),
        ("PUSH_ISSUER", "http://127.0.0.1:8085"),
        ("PUSH_AUDIENCE", "http://127.0.0.1:8080/wal-playback"),
    ] {
        laptop.insert(name.to_owned(), value.to_owned());
    }
    let mut nothing = everything();
    nothing.retain(|name, _| name == "UPSTREAM_URL");
    let mut log = everything();
    log.remove("SLACK_SIGNING_SECRET");
    vec![
        case("default", config::SHIPPED.to_owned()),
        Case { name: "laptop", text: config::SHIPPED.to_owned(), environment: laptop },
        Case { name: "closed", text: config::SHIPPED.to_owned(), environment: nothing },
        Case { name: "log-only", text: config::SHIPPED.to_owned(), environment: log },
        case("bolt", example("bolt.yaml")),
        case("camunda", example("camunda.yaml")),
        case("near-adapter", example("near-adapter.yaml")),
        case("slack-only", example("slack-only.yaml")),
    ]
}

#[test]
fn the_rendered_configuration_is_the_golden_file() {
    for Case { name, text, environment } in cases() {
        let rendered = render(&text, &environment, Path::new("dist")).unwrap();
        let path = root().join("envoy/golden").join(format!("{name}.yaml"));
        if std::env::var_os("UPDATE_GOLDEN").is_some() {
            std::fs::write(&path, &rendered).unwrap();
        }
        let golden = std::fs::read_to_string(&path).unwrap_or_default();
        let difference = golden.lines().zip(rendered.lines()).find(|(golden, rendered)| golden != rendered);
        assert!(
            golden == rendered,
            "{} differs, first at {difference:?}; UPDATE_GOLDEN=1 rewrites it",
            path.display()
        );
    }
}

#[test]
fn no_secret_is_in_any_rendered_configuration() {
    for Case { name, text, environment } in cases() {
        let rendered = render(&text, &environment, Path::new("dist")).unwrap();
        assert!(MARKERS.iter().all(|marker| !rendered.contains(marker)), "{name}");
    }
}

#[test]
fn real_envoy_takes_every_rendered_configuration() {
    let envoy = support::envoy();
    let directory = tempfile::tempdir().unwrap();
    let module: PathBuf = directory.path().join("log.wasm");
    std::fs::write(&module, NOTHING).unwrap();
    for Case { name, text, environment } in cases() {
        let file = directory.path().join(format!("{name}.yaml"));
        std::fs::write(&file, render(&text, &environment, &module).unwrap()).unwrap();
        let output = Command::new(&envoy).args(["--mode", "validate", "-c"]).arg(&file).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{name}: {said}");
        assert!(!said.contains("deprecated"), "{name}: {said}");
    }
}
