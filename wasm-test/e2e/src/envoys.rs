//! The Envoys that the documents name.

use std::collections::BTreeSet;
use std::process::Command;

/// The Envoys of `make e2e`, oldest first, each with its minor version.
///
/// # Panics
/// When they are others than the documents name.
pub fn envoys() -> Vec<(u32, String)> {
    let named = |name: &str| {
        std::env::var(name).unwrap_or_else(|_| panic!("{name} names no Envoy. Run:\n  make e2e"))
    };
    let all = format!("{} {}", named("OLDER_ENVOYS"), named("ENVOY"));
    let with_version = |envoy: &str| {
        let said = Command::new(envoy).arg("--version").output().unwrap().stdout;
        let said = String::from_utf8(said).unwrap();
        let version = said.split_once(" version: ").map(|(_, version)| version);
        let minor = version
            .and_then(|version| version.split('/').nth(1))
            .and_then(|version| version.strip_prefix("1.")?.split('.').next());
        (minor.and_then(|minor| minor.parse().ok()).expect(&said), envoy.to_owned())
    };
    let envoys: Vec<_> = all.split_whitespace().map(with_version).collect();
    let versions: BTreeSet<u32> = envoys.iter().map(|(minor, _)| *minor).collect();
    assert_eq!(versions, [36, 38, 40].into(), "the Envoys that the documents name");
    envoys
}
