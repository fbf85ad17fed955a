//! What is said about a configuration that cannot be used: the field, what was given, what would do.

mod support;

use std::path::Path;

use lockgate::config::{self, Environment};
use support::{MARKERS, everything, variables};

/// What is said about the shipped configuration with one line changed.
fn said(line: &str, instead: &str) -> String {
    assert!(config::SHIPPED.contains(line), "{line}");
    about(&config::SHIPPED.replacen(line, instead, 1), &everything())
}

fn about(text: &str, environment: &Environment) -> String {
    let said = config::parse(text, Path::new("."), environment).err().map(|problems| problems.to_string());
    let said = said.unwrap_or_default();
    assert!(MARKERS.iter().all(|marker| !said.contains(marker)), "{said}");
    said
}

fn with(name: &str, value: &str) -> String {
    let mut environment = everything();
    environment.insert(name.to_owned(), value.to_owned());
    about(config::SHIPPED, &environment)
}

fn without(names: &[&str]) -> String {
    let mut environment = everything();
    environment.retain(|name, _| !names.contains(&name.as_str()));
    about(config::SHIPPED, &environment)
}

#[test]
fn the_shipped_configuration_is_fine() {
    assert_eq!(without(&[]), "");
}

#[test]
fn each_bad_variable_is_named_with_what_was_given_and_what_would_do() {
    for (name, value, expected) in [
        ("PORT", "http", "listen: given \"0.0.0.0:http\", expected an address and port, for example"),
        ("PORT", "9901", "admin: given \"127.0.0.1:9901\", expected another port than listen"),
        ("TRUSTED_HOPS", "x", "trusted_hops: given \"x\", expected a whole number"),
        ("PUBLIC_URL", "http://app.example.com", "public_url: given \"http://app.example.com\", expected"),
        (
            "UPSTREAM_URL",
            "service:8080",
            "upstream.url: given \"service:8080\", expected the service's address",
        ),
        (
            "UPSTREAM_URL",
            "https://me:word@x/base",
            "upstream.url: given \"…@x/base\", expected the service's",
        ),
        ("UPSTREAM_URL", "https://x/base?a=1", "upstream.url: given \"https://x/base?a=1\""),
        (
            "GOOGLE_API_BASE",
            "http://pubsub.example.com",
            "services.google_api_base: given \"http://pubsub.example.com\"",
        ),
        ("METADATA_BASE", "http://10.0.0.1", "services.metadata_base: given \"http://10.0.0.1\""),
        (
            "PUBSUB_TOPIC",
            "wal",
            "log.topic: given \"wal\", expected a topic's full name, for example projects/",
        ),
        ("DEAD_LETTER_TOPIC", "projects/p/topics/lockgate", "log.dead_letter_topic: expected another topic"),
        ("PUSH_SERVICE_ACCOUNT", "push", "log.push.service_account: given \"push\""),
        ("PUSH_ISSUER", "https://issuer.example.com", "log.push.jwks_uri: is missing"),
        ("PUSH_ISSUER", "http://issuer.example.com", "log.push.issuer: given \"http://issuer.example.com\""),
    ] {
        let said = with(name, value);
        assert!(said.contains(expected), "{name}={value}: {said}");
    }
}

#[test]
fn each_bad_line_is_named_by_its_place() {
    for (line, instead, expected) in [
        ("version: 1", "version: 2", "version: expected version: 1"),
        ("version: 1", "version: 1\nvesion: 1", "vesion: unknown field `vesion`, expected one of"),
        ("guard: slack", "guard: slak", "routes[0].guard: unknown variant `slak`, expected one of `slack`"),
        (
            "    guard: push\n",
            "    guard: push\n    access_log: none\n",
            "access_log: unknown variant `none`, expected `all` or `failures`",
        ),
        (
            "  timeout: 540s",
            "  timeout: 540",
            "upstream.timeout: given \"540\", expected a time with its unit",
        ),
        ("  timeout: 540s", "  timeout: 590s", "upstream.timeout: given \"590s\", expected between"),
        ("version: 1", "version: 1\nbudgets: {slack: 3.5s}", "budgets.slack: given \"3.5s\""),
        ("version: 1", "version: 1\nlimits: {body: 9MiB}", "limits.body: given"),
        ("admin: 127.0.0.1", "admin: 0.0.0.0", "admin: given \"0.0.0.0:9901\", expected a loopback address"),
        (
            "{path: /slack/command}\n",
            "{path: slack}\n",
            "routes[0].match.path: given \"slack\", expected a path",
        ),
        ("{path_prefix: /wal}", "{path_prefix: /wal/}", "routes[4].match.path_prefix: given \"/wal/\""),
        ("{path_prefix: /wal}", "{path_prefix: /_lockgate/x}", "routes[4].match: given"),
        ("{strip_prefix: /wal,", "{strip_prefix: /w,", "routes[4].enqueue.strip_prefix: given \"/w\""),
        (
            "name: zapier",
            "name: wal",
            "routes[4].name: given \"wal\", expected a name that no other route has",
        ),
        ("name: zapier", "name: Zapier", "routes[3].name: given \"Zapier\", expected lower-case"),
        ("reply: empty", "reply: nothing", "routes[1].enqueue.reply: slack_in_channel, empty, accepted or"),
        ("reply: empty", "reply: {status: 302}", "routes[1].enqueue.reply.status: given \"302\""),
        (
            "{$ptr: \"\"}",
            "{$pointer: \"\"}",
            "routes[3].adapter.$pointer: expected one of $ptr, $json and $each",
        ),
        ("{$ptr: \"\"}", "missing.json", "routes[3].adapter: ./missing.json cannot be read"),
        ("{$ptr: \"\"}", "form", "routes[3].adapter: given \"form\", expected plain, a template, or"),
        (
            "    guard: push\n",
            "    guard: push\n    adapter: plain\n",
            "routes[5]: expected neither enqueue nor adapter",
        ),
        (
            "    guard: push\n",
            "    guard: public\n",
            "routes: given \"0 routes\", expected exactly one route with guard: push",
        ),
        (
            "    guard: oidc\n",
            "    guard: oidc\n    slack_kinds: {command: pass}\n",
            "routes[3].slack_kinds: expected only",
        ),
        (
            "    guard: slack\n",
            "    guard: slack\n    slack_kinds: {x: pass}\n",
            "routes[0].slack_kinds: given \"x\"",
        ),
        (
            "    guard: slack\n",
            "    guard: slack\n    slack_kinds: {command: drop}\n",
            "slack_kinds.command: given \"drop\"",
        ),
    ] {
        let said = said(line, instead);
        assert!(said.contains(expected), "{instead}: {said}");
    }
}

#[test]
fn a_secret_where_a_name_belongs_is_refused_and_never_repeated() {
    let secret = format!("signing_secret: {}", MARKERS[0]);
    for instead in [
        secret.clone(),
        format!("signing_secret: {{env: {}}}", MARKERS[0]),
        format!("signing_secret: {{sm: {}}}", MARKERS[0]),
        format!("signing_secret: [{}]", MARKERS[0]),
        "signing_secret: ${SLACK_SIGNING_SECRET}".to_owned(),
        "signing_secret: {env: \"${SLACK_SIGNING_SECRET}\"}".to_owned(),
    ] {
        let said = said("signing_secret: {env: SLACK_SIGNING_SECRET}", &instead);
        assert!(said.starts_with("slack.signing_secret"), "{instead}: {said}");
        assert!(said.contains("{env: "), "{said}");
    }
    let said =
        said("slack:\n  signing_secret: {env: SLACK_SIGNING_SECRET}", &format!("slack: {}", MARKERS[0]));
    assert!(said.starts_with("slack: given a text, expected an object such as"), "{said}");
}

#[test]
fn what_is_missing_of_a_group_is_named_with_an_example() {
    let said = without(&["PUSH_AUDIENCE", "DEAD_LETTER_TOPIC"]);
    assert!(said.contains("log: is partly set; missing: DEAD_LETTER_TOPIC (for example projects/"), "{said}");
    assert!(said.contains("PUSH_AUDIENCE (for example https://"), "{said}");
    let all = ["PUBSUB_TOPIC", "DEAD_LETTER_TOPIC", "PUSH_AUDIENCE", "PUSH_SERVICE_ACCOUNT"];
    assert!(without(&all).contains("log: is partly set"), "LOG_KEY alone is a part");
    let said = without(&[&all[..], &["LOG_KEY"]].concat());
    assert!(said.contains("routes[0].enqueue: needs the log, which is not set: PUBSUB_TOPIC"), "{said}");
}

#[test]
fn an_unset_variable_that_is_always_needed_is_named() {
    let said = without(&["UPSTREAM_URL"]);
    assert_eq!(
        said,
        "upstream.url: UPSTREAM_URL is not set; expected, for example, UPSTREAM_URL=https://my-service-abc123-ew.a.run.app"
    );
}

#[test]
fn every_problem_is_said_at_once() {
    let mut environment = everything();
    environment.extend(variables(&[("PORT", "x"), ("UPSTREAM_URL", "x"), ("PUBSUB_TOPIC", "x")]));
    assert_eq!(about(config::SHIPPED, &environment).lines().count(), 3);
}

#[test]
fn adapter_and_signature_exclude_each_other() {
    let both = "{path: /slack/command}, sign: {slack: {env: SLACK_SIGNING_SECRET}}, adapter: plain}";
    let said = said("{path: /slack/command}, adapter: plain}", both);
    assert!(said.contains("log.restored[0]: expected either adapter or sign"), "{said}");
}
