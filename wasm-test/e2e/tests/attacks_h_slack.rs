//! Attacks on the Slack routes: what is not signed by Slack, now, is not stored, not forwarded and
//! not reflected.

use std::sync::Arc;
use std::time::Duration;

use lockgate_e2e::ports::free_port;
use lockgate_e2e::slack::{self, now, signature};
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Process, Request, Shared, Stack};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

const PATHS: [&str; 3] = ["/slack/command", "/slack/event", "/slack/interactive"];

/// A command with these headers, in this order.
fn with_headers(target: &str, marker: &str, headers: &[(&str, String)]) -> Request {
    let request = slack::command(target, marker);
    headers.iter().fold(request, |request, (name, value)| request.header(name, value))
}

async fn assert_refused(request: &Request, marker: &str) {
    let stack = stack().await;
    let answer = stack.client().send(request).await;
    assert_eq!(answer.status, 401, "{marker}: {}", answer.text());
    assert!(!answer.text().contains(marker), "{marker} is reflected");
    stack.assert_no_trace(marker);
}

#[tokio::test]
async fn a_timestamp_outside_five_minutes_is_refused_on_both_sides() {
    for (marker, offset) in
        [("past-301", -301), ("past-day", -86_400), ("future-302", 302), ("future-day", 86_400)]
    {
        let request = slack::command("/slack/command", marker);
        let timestamp = (now() + offset).to_string();
        assert_refused(&slack::signed_at(request, SLACK_SECRET, &timestamp), marker).await;
    }
    let stack = stack().await;
    for (marker, offset) in [("past-290", -290), ("future-290", 290)] {
        let timestamp = (now() + offset).to_string();
        let request = slack::signed_at(slack::command("/slack/command", marker), SLACK_SECRET, &timestamp);
        assert_eq!(stack.client().send(&request).await.status, 200, "{marker}");
    }
}

#[tokio::test]
async fn a_timestamp_that_is_no_number_is_refused_though_signed() {
    let now = now().to_string();
    for (number, timestamp) in [
        "",
        " ",
        "-1",
        "0",
        "abc",
        "NaN",
        "1e9",
        "0x5f5e100",
        &format!("-{now}"),
        &format!("+{now}"),
        &format!("{now}.0"),
        &format!("{now}0000000000000000"),
        &format!("{now},{now}"),
        &format!("{now} {now}"),
        "18446744073709551616",
        "٣٤٥",
    ]
    .iter()
    .enumerate()
    {
        let marker = format!("bad-timestamp-{number}-");
        let request = slack::command("/slack/command", &marker);
        assert_refused(&slack::signed_at(request, SLACK_SECRET, timestamp), &marker).await;
    }
}

#[tokio::test]
async fn a_signature_of_something_else_is_refused() {
    let time = now().to_string();
    for path in PATHS {
        for (name, secret, signed_time, signed_body) in [
            ("secret", "another secret", time.clone(), None),
            ("empty-secret", "", time.clone(), None),
            ("time", SLACK_SECRET, (now() - 1).to_string(), None),
            ("body", SLACK_SECRET, time.clone(), Some("another body")),
            ("empty-body", SLACK_SECRET, time.clone(), Some("")),
        ] {
            let marker = format!("other-{name}-{}", path.len());
            let request = slack::command(path, &marker);
            let body = signed_body.map_or(request.body.clone(), |body| body.as_bytes().to_vec());
            let request = request
                .header("x-slack-request-timestamp", &time)
                .header("x-slack-signature", signature(secret, &signed_time, &body));
            assert_refused(&request, &marker).await;
        }
    }
}

#[tokio::test]
async fn a_signature_of_another_form_is_refused() {
    let time = now().to_string();
    let body_of = |marker: &str| slack::command("/slack/command", marker).body;
    type Change = fn(&str) -> String;
    let forms: [(&str, Change); 12] = [
        ("empty", |_| String::new()),
        ("prefix-only", |_| "v0=".to_owned()),
        ("no-prefix", |good| good["v0=".len()..].to_owned()),
        ("v1", |good| good.replace("v0", "v1")),
        ("upper-case", |good| format!("v0={}", good["v0=".len()..].to_uppercase())),
        ("upper-prefix", |good| good.replace("v0", "V0")),
        ("short", |good| good[..good.len() - 1].to_owned()),
        ("long", |good| format!("{good}0")),
        ("two-in-one", |good| format!("{good},{good}")),
        ("not-hex", |good| format!("v0={}", "z".repeat(good.len() - 3))),
        ("zeroes", |_| format!("v0={}", "0".repeat(64))),
        ("huge", |good| good.repeat(200)),
    ];
    for (name, change) in forms {
        let marker = format!("form-{name}-");
        let good = signature(SLACK_SECRET, &time, &body_of(&marker));
        let headers = [("x-slack-request-timestamp", time.clone()), ("x-slack-signature", change(&good))];
        assert_refused(&with_headers("/slack/command", &marker, &headers), &marker).await;
    }
}

#[tokio::test]
async fn a_header_that_is_missing_or_stands_twice_is_refused() {
    let time = now().to_string();
    let (timestamp, signed) = ("x-slack-request-timestamp", "x-slack-signature");
    for (marker, names) in [
        ("missing-both", &[][..]),
        ("missing-signature", &[timestamp]),
        ("missing-timestamp", &[signed]),
        ("twice-signature", &[timestamp, signed, signed]),
        ("twice-timestamp", &[timestamp, timestamp, signed]),
        ("twice-both", &[timestamp, signed, timestamp, signed]),
    ] {
        let body = slack::command("/slack/command", marker).body;
        let good = signature(SLACK_SECRET, &time, &body);
        let headers: Vec<_> = names
            .iter()
            .map(|name| (*name, if *name == signed { good.clone() } else { time.clone() }))
            .collect();
        assert_refused(&with_headers("/slack/command", marker, &headers), marker).await;
    }
}

#[tokio::test]
async fn a_forged_signature_beside_the_good_one_is_refused_in_either_order() {
    let time = now().to_string();
    for (marker, good_first) in [("good-first", true), ("forged-first", false)] {
        let good = signature(SLACK_SECRET, &time, &slack::command("/slack/command", marker).body);
        let mut values = vec![good, format!("v0={}", "a".repeat(64))];
        if !good_first {
            values.reverse();
        }
        let mut headers = vec![("x-slack-request-timestamp", time.clone())];
        headers.extend(values.into_iter().map(|value| ("x-slack-signature", value)));
        assert_refused(&with_headers("/slack/command", marker, &headers), marker).await;
    }
}

#[tokio::test]
async fn an_unsigned_check_carries_nothing_else_through() {
    let stack = stack().await;
    for (marker, request) in [
        (
            "smuggled-1",
            slack::form("/slack/command", &[("ssl_check", "1"), ("command", "/x"), ("text", "smuggled-1")]),
        ),
        (
            "smuggled-2",
            slack::form("/slack/event", &[("ssl_check", "1"), ("payload", r#"{"smuggled-2":1}"#)]),
        ),
        ("smuggled-3", Request::get("/slack/command?ssl_check=1&text=smuggled-3&command=/x")),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!((answer.status, answer.body.len()), (200, 0), "{marker}");
        stack.assert_no_trace(marker);
    }
    for (marker, request) in [
        ("unchecked-1", slack::form("/slack/command", &[("ssl_check", "0"), ("text", "unchecked-1")])),
        ("unchecked-2", slack::form("/slack/command?ssl_check=1", &[("text", "unchecked-2")])),
        ("unchecked-3", Request::get("/slack/command?text=unchecked-3")),
        ("unchecked-4", slack::form("/slack/command", &[("text", "ssl_check=1&unchecked-4")])),
    ] {
        assert_refused(&request, marker).await;
    }
    let long = slack::form("/slack/command", &[("ssl_check", "1"), ("text", &"smuggled-long".repeat(1_000))]);
    assert_refused(&long, "smuggled-long").await;
}

#[tokio::test]
async fn an_unsigned_challenge_is_not_reflected() {
    for path in PATHS {
        let marker = format!("challenge-{}", path.len());
        let body = format!(r#"{{"type":"url_verification","challenge":"{marker}"}}"#);
        assert_refused(&Request::post(path, "application/json", body), &marker).await;
    }
}

#[tokio::test]
async fn a_signature_is_worth_nothing_on_another_route() {
    let stack = stack().await;
    let request =
        slack::signed(slack::command("/admin/replayed-elsewhere", "replayed-elsewhere"), SLACK_SECRET);
    assert_eq!(stack.client().send(&request).await.status, 403);
    stack.assert_no_trace("replayed-elsewhere");
}

#[tokio::test]
async fn with_an_empty_secret_among_the_secrets_nothing_starts() {
    let stack = stack().await;
    for secret in [",", " , ", "good,,other", "good, "] {
        let mut command = stack.lockgate("run");
        command
            .env("SLACK_SIGNING_SECRET", secret)
            .env("PORT", free_port().to_string())
            .env("ADMIN_PORT", free_port().to_string())
            .env("STATE_DIR", stack.directory().join("not-started"));
        let run = Process::start("lockgate run", &mut command, Arc::default());
        let status = run.wait_exit(Duration::from_secs(20)).await;
        assert!(!status.success(), "{secret:?} was accepted");
        assert!(run.log().matching(|line| line.contains("good")).is_empty(), "a secret in the log");
    }
}

#[tokio::test]
async fn without_a_secret_the_slack_routes_are_closed() {
    let stack = Stack::builder().variable("SLACK_SIGNING_SECRET", "").start().await;
    for path in PATHS {
        let request = slack::signed(slack::command(path, "no-secret"), "");
        assert_eq!(stack.client().send(&request).await.status, 403);
    }
    stack.assert_no_trace("no-secret");
}
