//! Each filter's README says what its code says: the settings of a rule, and the reasons it refuses for.
#![allow(clippy::unwrap_used, reason = "a test")]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn filter(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn readme(name: &str) -> String {
    std::fs::read_to_string(filter(name).join("README.md")).unwrap()
}

/// The first cells of the table behind a heading.
fn fields(readme: &str, heading: &str) -> BTreeSet<String> {
    let (_, section) = readme.split_once(heading).unwrap_or_default();
    let section = section.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    rows.map(str::to_owned).collect()
}

#[test]
fn every_setting_is_in_the_readme_and_no_other() {
    let filters = [
        ("oidc", oidc::config::SETTINGS),
        ("slack-signature", slack_signature::config::SETTINGS),
        ("form-to-json", form_to_json::conversion::SETTINGS),
        ("pubsub-enqueue", pubsub_enqueue::config::SETTINGS),
        ("pubsub-playback", pubsub_playback::config::SETTINGS),
        ("upstream-identity", upstream_identity::config::SETTINGS),
        ("inverting-proxy", inverting_proxy::config::SETTINGS),
    ];
    for (name, settings) in filters {
        let expected: BTreeSet<String> = settings.iter().map(|setting| (*setting).to_owned()).collect();
        assert_eq!(fields(&readme(name), "## Settings of a rule"), expected, "{name}");
    }
}

/// A reason stands in the source as `reason: "…"`, as the argument of what makes a refusal, or as the first string of a match arm in a
/// function that makes a refusal.
#[test]
fn every_reason_for_a_refusal_is_in_the_readme() {
    for (name, least) in [
        ("oidc", 3),
        ("slack-signature", 3),
        ("form-to-json", 3),
        ("pubsub-enqueue", 3),
        ("pubsub-playback", 3),
        ("upstream-identity", 1),
        ("inverting-proxy", 10),
    ] {
        let readme = readme(name);
        let mut found = 0;
        for entry in std::fs::read_dir(filter(name).join("src")).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "rs") {
                continue;
            }
            let source = std::fs::read_to_string(&path).unwrap();
            let named = ["reason: \"", "invalid_token(\"", "wrong(\"", "Wrong(\"", "Inactive(\""];
            let behind = |start: &'static str| source.split(start).skip(1).map(until_quote);
            let mut reasons: Vec<&str> = named.into_iter().flat_map(behind).collect();
            if let Some((_, mapping)) = source
                .split_once("let (reason, sentence) = match")
                .or(source.split_once("let (status, reason, sentence) = match"))
                .or(source.split_once("let reason = match"))
                .or(source.split_once("invalid_token(match error"))
                .or(source.split_once("wrong(match error"))
                .or(source.split_once("IdTokenError::Wrong(match error"))
            {
                let arms = mapping
                    .split("};")
                    .next()
                    .and_then(|arms| arms.split("\n    })").next())
                    .unwrap_or_default()
                    .split("=>")
                    .skip(1);
                reasons.extend(arms.filter_map(|arm| arm.split('"').nth(1)));
            }
            for reason in reasons {
                assert!(
                    readme.contains(&format!("`{reason}`")),
                    "{name}/README.md does not tell of {reason}"
                );
                found += 1;
            }
        }
        assert!(found >= least, "{name}: the sources are written otherwise than this test reads");
    }
}

fn until_quote(text: &str) -> &str {
    text.split('"').next().unwrap_or_default()
}
