//! Attacks by way of the logs: nothing secret gets in, and nothing that is logged breaks out.

use std::time::Duration;

use lockgate_e2e::slack::{self, now, signature};
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Answer, Envelope, Request, Stack};
use serde_json::Value;

/// What a caller keeps to itself, in every place a request has for it.
const PRIVATE: [&str; 9] = [
    "private-bearer",
    "private-cookie",
    "private-query",
    "private-body",
    "private-header",
    "private-password",
    "private-envelope",
    "private-answer",
    "private-fragment",
];

fn private(request: Request) -> Request {
    request
        .header("authorization", "Bearer private-bearer")
        .header("cookie", "session=private-cookie")
        .header("x-api-key", "private-header")
        .header("proxy-authorization", "Basic private-password")
}

/// One request for every way through, and out of, the chain.
async fn traffic(stack: &Stack) -> Vec<String> {
    let client = stack.client();
    stack.upstream().program(|request| match request.path() {
        "/public/broken" => Some(Answer::Reset),
        "/refused" => Some(Answer::with_body(400, "text/plain", "private-answer")),
        _ => None,
    });
    let time = now().to_string();
    let command = slack::command("/slack/command?code=private-query", "private-body");
    let good = signature(SLACK_SECRET, &time, &command.body);
    let forged = signature("wrong", &time, &command.body);
    for tag in [&good, &forged] {
        let signed =
            command.clone().header("x-slack-request-timestamp", &time).header("x-slack-signature", tag);
        client.send(&private(signed)).await;
    }
    for target in [
        "/wal/x",
        "/wal/refused",
        "/public/x",
        "/public/broken",
        "/admin/x",
        "/form/x",
        "/zapier/x",
        "/nowhere",
        "/wal-playback",
    ] {
        let target = format!("{target}?token=private-query");
        client.send(&private(Request::post(&target, "application/json", "{\"private-body\":1"))).await;
    }
    let token = stack.tokens().push();
    let data = Envelope::new("private-envelope", "POST", "/refused?code=private-query").body("private-body");
    stack.push_data(&data.unsealed()).await;
    stack.push(&data).await;
    stack.push(&Envelope::new("later", "POST", "/later?code=private-query").body("private-body")).await;
    stack.dead_letters().wait_for("/refused").await;
    vec![good, forged, token, SLACK_SECRET.to_owned()]
}

#[tokio::test]
async fn no_log_holds_what_a_caller_keeps_to_itself() {
    for level in ["warning", "info"] {
        let stack = Stack::builder().variable("ENVOY_LOG_LEVEL", level).start().await;
        let secrets = traffic(&stack).await;
        stack.stop_gateway().await;
        let lines = [stack.gateway_log().since(0), stack.services_log().since(0)].concat();
        assert!(lines.iter().any(|line| line.contains("\"/wal/x\"")), "the access log was looked at");
        for line in lines {
            for secret in secrets.iter().map(String::as_str).chain(PRIVATE) {
                assert!(!line.contains(secret), "at {level}: {line}");
            }
        }
    }
}

#[tokio::test]
async fn every_line_of_the_access_log_is_one_object_whatever_is_in_it() {
    let stack = Stack::builder().start().await;
    let client = stack.client();
    let odd_ids = [
        &b"a\",\"status\":\"200"[..],
        b"\x1b[31mred",
        b"a\\",
        b"{\"a\":1}",
        b"\xff\xfe",
        b"%0a%0d",
        b"a b\tc",
    ];
    for id in odd_ids {
        client.send(&slack::command("/slack/command", "x").header("x-request-id", id)).await;
        client.send(&Request::get("/public/odd-id").header("x-request-id", id)).await;
    }
    client.send(&slack::command("/slack/command", "x").header("x-request-id", "i".repeat(20_000))).await;
    for target in [
        "/public/%0a%0dx",
        "/public/\"},{\"a\":\"",
        "/public/%22%5c",
        &format!("/public/{}", "p".repeat(8_000)),
    ] {
        client.try_send(&Request::get(target)).await.unwrap();
    }
    let _ = client.exchange(b"BAD\x1b[2J /public/\x07 HTTP/1.1\r\n\r\n", "GET").await;
    stack.stop_gateway().await;
    let lines = stack.gateway_log().since(0);
    let mut objects = 0;
    for line in &lines {
        assert!(!line.contains('\u{1b}') && !line.contains('\u{7}'), "{}", line.escape_debug());
        if line.starts_with('{') {
            let parsed: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
            for field in ["time", "request_id", "method", "path", "route", "status", "duration_ms"] {
                assert!(parsed.get(field).is_some(), "{field} is missing: {line}");
            }
            assert!(line.len() < 4_000, "a line of {} bytes", line.len());
            objects += 1;
        } else {
            let own = line.starts_with('[') || line.starts_with("ready ") || line.starts_with("lockgate");
            assert!(own, "a line of its own making: {line}");
            assert!(line.len() < 2_000, "a line of {} bytes", line.len());
        }
    }
    assert!(objects >= 2 * odd_ids.len(), "{objects} lines");
}

#[tokio::test]
async fn an_error_tells_its_id_and_nothing_of_the_inside() {
    let config =
        lockgate_e2e::stack::CONFIG.replace("url: ${UPSTREAM_URL}", "url: ${UPSTREAM_URL}\n  timeout: 1s");
    let stack = Stack::builder().config(&config).start().await;
    stack.upstream().program(|request| match request.path() {
        "/public/reset" => Some(Answer::Reset),
        "/public/late" => Some(Answer::status(200).after(Duration::from_secs(3))),
        "/public/garbage" => Some(Answer::Raw(b"not http at all\r\n\r\n".to_vec())),
        _ => None,
    });
    let client = stack.client();
    let mut answers = Vec::new();
    for path in [
        "/public/reset",
        "/public/late",
        "/public/garbage",
        "/admin",
        "/wal-playback",
        "/nowhere",
        "/_lockgate/x",
    ] {
        answers.push((path, client.send(&Request::post(path, "text/plain", "x")).await));
    }
    answers.push(("unsigned", client.send(&slack::command("/slack/command", "x")).await));
    answers
        .push(("too large", client.send(&Request::post("/wal/x", "text/plain", vec![b'x'; 2 << 20])).await));
    stack.upstream().leave().await;
    answers.push(("absent", client.send(&Request::get("/public/absent")).await));
    let mut told = Vec::new();
    for (name, answer) in answers {
        let text = answer.text();
        assert!(answer.status >= 400, "{name}: {}", answer.status);
        let lower = text.to_lowercase();
        let inside = [
            "envoy",
            "wasm",
            "rbac",
            "upstream",
            "reset",
            "cluster",
            "lockgate",
            "filter",
            "127.0.0.1",
            "connect",
        ];
        if inside.iter().any(|word| lower.contains(word)) || answer.headers.contains("server") {
            told.push(format!("{name} tells of the inside: {} {text:?}", answer.status));
        }
        if !answer.headers.contains("x-request-id") {
            told.push(format!("{name} has no id: {} {text:?}", answer.status));
        }
    }
    assert!(told.is_empty(), "{told:#?}");
}
