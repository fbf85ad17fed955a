//! What is said about an upstream's identity, and about a secret's overlap, that cannot be used.

mod support;

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockgate::config::{self, Config, IdentityHeader};
use serde_json::json;
use support::{MARKERS, everything, variables};

fn parse(text: &str, pairs: &[(&str, &str)]) -> Result<Config, String> {
    let mut environment = everything();
    environment.extend(variables(pairs));
    config::parse(text, Path::new("."), &environment).map_err(|problems| problems.to_string())
}

fn said(text: &str, pairs: &[(&str, &str)]) -> String {
    let said = parse(text, pairs).err().unwrap_or_default();
    assert!(MARKERS.iter().all(|marker| !said.contains(marker)), "{said}");
    said
}

const AUDIENCE: (&str, &str) = ("UPSTREAM_AUDIENCE", "https://service-abc123-ew.a.run.app");

fn key() -> String {
    let pem = "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
    json!({"client_email": "a@p.iam", "private_key": pem, "private_key_id": "k",
           "token_uri": "https://oauth2.googleapis.com/token"})
    .to_string()
}

#[test]
fn without_an_audience_there_is_no_identity() {
    assert!(parse(config::SHIPPED, &[]).unwrap().upstream.identity.is_none());
    let config = parse(config::SHIPPED, &[AUDIENCE]).unwrap();
    let identity = config.upstream.identity.clone().unwrap();
    assert_eq!((identity.header, identity.key), (IdentityHeader::Authorization, None));
    assert_eq!(identity.audience, AUDIENCE.1);
    assert!(!config.variables().contains("UPSTREAM_SERVICE_ACCOUNT_KEY"));
}

#[test]
fn a_key_is_taken_as_json_in_base64_or_from_secret_manager() {
    for key in [key(), STANDARD.encode(key()), "sm://projects/p/secrets/s/versions/latest".to_owned()] {
        let config = parse(config::SHIPPED, &[AUDIENCE, ("UPSTREAM_SERVICE_ACCOUNT_KEY", &key)]).unwrap();
        assert!(config.variables().contains("UPSTREAM_SERVICE_ACCOUNT_KEY"), "{key}");
    }
}

#[test]
fn what_cannot_be_an_identity_is_named_with_an_example() {
    let key = key();
    for (pairs, expected) in [
        (
            vec![("UPSTREAM_SERVICE_ACCOUNT_KEY", key.as_str())],
            "upstream.identity: is partly set; missing: UPSTREAM_AUDIENCE (for example UPSTREAM_AUDIENCE=https://",
        ),
        (
            vec![("UPSTREAM_AUDIENCE", "two words")],
            "upstream.identity.audience: given \"two words\", expected whom the token is for",
        ),
        (
            vec![AUDIENCE, ("UPSTREAM_IDENTITY_HEADER", "cookie")],
            "upstream.identity.header: unknown variant `cookie`, expected `authorization` or \
             `x-serverless-authorization`",
        ),
        (
            vec![AUDIENCE, ("UPSTREAM_SERVICE_ACCOUNT_KEY", MARKERS[3])],
            "upstream.identity.key: UPSTREAM_SERVICE_ACCOUNT_KEY is not a service account's key",
        ),
        (
            vec![AUDIENCE, ("UPSTREAM_SERVICE_ACCOUNT_KEY", "{\"client_email\": \"a@p.iam\"}")],
            "upstream.identity.key: UPSTREAM_SERVICE_ACCOUNT_KEY is not a service account's key",
        ),
    ] {
        let said = said(config::SHIPPED, &pairs);
        assert!(said.contains(expected), "{said}");
    }
}

#[test]
fn a_forwarded_token_and_an_identity_cannot_share_a_header() {
    let text = config::SHIPPED.replacen(
        "routes:",
        "routes:\n  - {name: api, match: {path_prefix: /api}, guard: oidc, forward_token: true}",
        1,
    );
    let said = said(&text, &[AUDIENCE]);
    assert!(
        said.contains("routes[0].forward_token: given \"true\", expected upstream.identity.header"),
        "{said}"
    );
    parse(&text, &[AUDIENCE, ("UPSTREAM_IDENTITY_HEADER", "x-serverless-authorization")]).unwrap();
}

#[test]
fn an_overlap_is_whole_seconds_of_a_day_at_most() {
    let with = |overlap: &str| {
        let line = "signing_secret: {env: SLACK_SIGNING_SECRET}";
        config::SHIPPED.replacen(line, &format!("{line}\n  overlap: {overlap}"), 1)
    };
    assert_eq!(parse(&with("90s"), &[]).unwrap().slack.unwrap().overlap.as_secs(), 90);
    for overlap in ["1500ms", "25h"] {
        let said = said(&with(overlap), &[]);
        assert!(said.contains("slack.overlap: given"), "{said}");
    }
}
