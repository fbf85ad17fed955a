//! Playback: who may push, what a push becomes, and what the queue is told.

use std::time::{Duration, Instant};

use lockgate_e2e::stack::{CONFIG, LOG_KEY};
use lockgate_e2e::tokens::Tokens;
use lockgate_e2e::{Answer, Envelope, Request, Response, Shared, Stack, push_request, slack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder().concurrency(2)).await
}

async fn push_with(stack: &Stack, marker: &str, authorization: &[&str]) -> Response {
    let data = Envelope::new(marker, "POST", &format!("/{marker}")).body("x").sealed(LOG_KEY);
    let mut request = push_request(&data, json!({}));
    for value in authorization {
        request = request.header("authorization", value);
    }
    stack.client().send(&request).await
}

#[tokio::test]
async fn a_genuine_token_plays_back_and_goes_no_further() {
    let stack = stack().await;
    for (marker, scheme) in [("genuine-1", "Bearer "), ("genuine-2", "bearer "), ("genuine-3", "BEARER  ")] {
        let token = stack.tokens().push();
        let answer = push_with(&stack, marker, &[&format!("{scheme}{token}")]).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{marker}");
        let delivered = stack.delivered(marker).await;
        assert!(!delivered.headers.contains("authorization"));
        assert!(!delivered.contains(&token), "the push token at the upstream");
    }
}

#[tokio::test]
async fn no_other_token_opens() {
    let stack = stack().await;
    let tokens = stack.tokens();
    let elsewhere = tempfile::tempdir().unwrap();
    let stranger = Tokens::new(elsewhere.path(), "http://127.0.0.1", &stack.push_audience());
    let claim =
        |name: &'static str, value: Value| tokens.push_with(|claims| drop(claims.insert(name.into(), value)));
    let without = |name: &'static str| tokens.push_with(|claims| drop(claims.remove(name)));
    let good = tokens.push();
    let (signed, signature) = good.rsplit_once('.').unwrap();
    let unsigned = {
        let mut parts = good.split('.');
        let (_, claims) = (parts.next(), parts.next().unwrap());
        format!("eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.{claims}.")
    };
    let mut other_signature = signature.to_owned();
    other_signature.replace_range(10..11, if &signature[10..11] == "A" { "B" } else { "A" });
    for (marker, token) in [
        ("audience-of-upstream", claim("aud", json!("http://127.0.0.1:1/upstream"))),
        ("audience-longer", claim("aud", json!(format!("{}/x", stack.push_audience())))),
        ("audience-absent", without("aud")),
        ("issuer-google", claim("iss", json!("https://accounts.google.com"))),
        ("issuer-absent", without("iss")),
        ("email-other", claim("email", json!("someone@e2e.iam.gserviceaccount.com"))),
        ("email-longer", claim("email", json!("push@e2e.iam.gserviceaccount.com.evil.example"))),
        ("email-absent", without("email")),
        ("email-unverified", claim("email_verified", json!(false))),
        ("email-verified-text", claim("email_verified", json!("true"))),
        ("email-verified-absent", without("email_verified")),
        ("expired", claim("exp", json!(slack::now() - 400))),
        ("expiry-absent", without("exp")),
        ("expiry-text", claim("exp", json!("9999999999"))),
        ("not-yet", claim("nbf", json!(slack::now() + 4_000))),
        ("key-of-a-stranger", stranger.push()),
        ("signature-changed", format!("{signed}.{other_signature}")),
        ("signature-absent", format!("{signed}.")),
        ("algorithm-none", unsigned),
        ("cut", good[..good.len() - 5].to_owned()),
        ("not-a-token", "abc".to_owned()),
        ("empty", String::new()),
    ] {
        let marker = format!("forged-{marker}");
        let answer = push_with(&stack, &marker, &[&format!("Bearer {token}")]).await;
        assert!(matches!(answer.status, 401 | 403), "{marker}: {}", answer.status);
        assert!(token.len() < 8 || !answer.text().contains(&token), "{marker} is reflected");
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn a_push_without_exactly_one_bearer_token_is_refused() {
    let stack = stack().await;
    let good = format!("Bearer {}", stack.tokens().push());
    let user = stack.pubsub().identity_token(&stack.push_audience()).await;
    for (marker, values) in [
        ("none", vec![]),
        ("twice", vec![&*good, &*good]),
        ("basic", vec!["Basic cHVzaDpwdXNo"]),
        ("scheme-only", vec!["Bearer"]),
        ("of-another-account", vec![&*format!("Bearer {user}")]),
    ] {
        let marker = format!("refused-{marker}");
        let answer = push_with(&stack, &marker, &values).await;
        assert!(matches!(answer.status, 401 | 403), "{marker}: {}", answer.status);
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn only_a_post_to_the_very_path_is_a_push() {
    let stack = stack().await;
    let token = format!("Bearer {}", stack.tokens().push());
    let data = Envelope::new("not-a-push", "POST", "/not-a-push").sealed(LOG_KEY);
    for (method, target) in [
        ("GET", "/wal-playback"),
        ("PUT", "/wal-playback"),
        ("POST", "/wal-playback/"),
        ("POST", "/wal-playback/x"),
        ("POST", "/WAL-PLAYBACK"),
    ] {
        let mut request = push_request(&data, json!({})).header("authorization", &token);
        (request.method, request.target) = (method.to_owned(), target.to_owned());
        let answer = stack.client().send(&request).await;
        assert!(answer.status >= 400, "{method} {target}: {}", answer.status);
    }
    stack.assert_no_trace("not-a-push");
}

#[tokio::test]
async fn an_envelope_reaches_the_upstream_wherever_its_path_would_lead_otherwise() {
    let stack = stack().await;
    let paths =
        ["/slack/command", "/wal/x", "/wal-playback", "/_lockgate/health", "/health", "/", "/admin/x"];
    for (number, path) in paths.into_iter().enumerate() {
        let marker = format!("path-of-its-own-{number}");
        let target = format!("{path}?marker={marker}");
        let envelope = Envelope::new(&marker, "POST", &target).header("content-type", "application/json");
        let answer = stack.push(&envelope.body("{}")).await;
        assert_eq!(answer.status, 204, "{path}");
        let requests = stack.upstream().requests().matching(|request| request.contains(&marker));
        let [delivered] = &requests[..] else { panic!("{path}: {} requests", requests.len()) };
        assert_eq!((&*delivered.target, delivered.body.as_slice()), (&*target, &b"{}"[..]));
    }
}

#[tokio::test]
async fn a_restored_request_says_what_it_is() {
    let stack = stack().await;
    let envelope = Envelope::new("0190-told", "PUT", "/told?a=b")
        .header("content-type", "text/x")
        .header("x-request-id", "request-id-told")
        .field("dedup", "dedup-told")
        .field("principal", json!({"filter": "slack-signature", "subject": "T1"}))
        .body("told");
    assert_eq!(stack.push(&envelope).await.status, 204);
    let delivered = stack.delivered("0190-told").await;
    assert_eq!((&*delivered.method, &*delivered.target, &*delivered.text()), ("PUT", "/told?a=b", "told"));
    for (name, value) in [
        ("content-type", "text/x"),
        ("content-length", "4"),
        ("cdn-loop", "lockgate"),
        ("webhook-id", "0190-told"),
        ("x-lockgate-message-id", "0190-told"),
        ("x-lockgate-delivery-attempt", "1"),
        ("x-lockgate-publish-time", "2026-11-22T04:00:00.000Z"),
        ("x-lockgate-received-at", "2026-11-22T04:00:00.000Z"),
        ("x-lockgate-dedup-id", "dedup-told"),
        ("x-lockgate-principal", r#"{"filter":"slack-signature","subject":"T1"}"#),
        ("x-request-id", "request-id-told"),
    ] {
        assert_eq!(delivered.headers.all(name), [value.as_bytes()], "{name}");
    }
    let upstream = stack.upstream().address().to_string();
    assert_eq!(delivered.headers.all("host"), [upstream.as_bytes()]);
}

/// What the upstream answers → what the queue sees, and whether the message is a dead letter.
#[tokio::test]
async fn the_upstreams_answer_decides_between_done_again_and_never() {
    let stack = stack().await;
    let client = stack.client();
    stack.upstream().program(|request| {
        let status = request.path().strip_prefix("/answer-")?.parse().ok()?;
        let mut answer = Answer::with_body(status, "text/plain", "of the upstream");
        if let Answer::Respond(response, _) = &mut answer {
            response.headers.push("location", "http://elsewhere.example/");
            response.headers.push("x-internal", "of the upstream");
            response.headers.push("set-cookie", "of=the-upstream");
        }
        Some(answer)
    });
    let delivered = [200, 201, 202, 203, 204, 206, 226];
    let again = [408, 425, 429, 500, 502, 503, 504, 599];
    let never = [300, 301, 302, 303, 304, 307, 308, 400, 401, 403, 404, 405, 409, 410, 413, 418, 422, 508];
    for (statuses, told, dead) in [(&delivered[..], 204, false), (&again, 503, false), (&never, 204, true)] {
        for status in statuses {
            let marker = format!("answer-{status}");
            let answer = stack.push(&Envelope::new(&marker, "POST", &format!("/{marker}")).body("x")).await;
            assert_eq!(answer.status, told, "{status}");
            assert_eq!(answer.body, b"", "{status}: the answer's body goes nowhere");
            for name in ["location", "x-internal", "set-cookie"] {
                assert!(!answer.headers.contains(name), "{status}: {name}");
            }
            if dead {
                let letter = stack.dead_letters().wait_for(&marker).await;
                assert_eq!(letter.attribute("lockgate_reason"), Some("upstream_status"), "{status}");
                assert_eq!(letter.attribute("lockgate_status"), Some(&*status.to_string()));
                assert_eq!(letter.attribute("lockgate_message_id"), Some("7"));
                assert_eq!(letter.attribute("lockgate_attempt"), Some("1"));
            } else {
                assert_eq!(stack.dead_letters().with(&marker), [], "{status}");
            }
        }
    }
    assert_eq!(client.send(&Request::get("/health")).await.status, 204);
}

#[tokio::test]
async fn interim_answers_are_not_the_answer() {
    let stack = stack().await;
    stack.upstream().program(|request| {
        (request.path() == "/interim").then(|| {
            let mut response = Response::new(200);
            response.interim = vec![102, 103];
            Answer::Respond(response, Duration::ZERO)
        })
    });
    let envelope = Envelope::new("interim-1", "POST", "/interim").body("x");
    assert_eq!(stack.push(&envelope).await.status, 204);
    assert_eq!(stack.dead_letters().with("interim-1"), []);
}

#[tokio::test]
async fn an_upstream_that_breaks_off_gets_the_message_again() {
    let stack = stack().await;
    let cut = b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\ncut".to_vec();
    let answers =
        [Answer::Reset, Answer::Reset, Answer::Raw(Vec::new()), Answer::status(429), Answer::status(200)];
    stack.upstream().program_in_turn(|request| request.path() == "/breaks-off", answers);
    stack
        .upstream()
        .program_in_turn(|request| request.path() == "/cut-off", [Answer::Raw(cut), Answer::status(200)]);
    for path in ["/breaks-off", "/cut-off"] {
        let answer = stack.client().send(&Request::post(&format!("/wal{path}"), "text/plain", "x")).await;
        let id = answer.json()["id"].as_str().unwrap().to_owned();
        let count = if path == "/cut-off" { 1 } else { 5 };
        let arrived = stack.upstream().requests().wait_for(path, count, |r| r.path() == path).await;
        assert!(arrived.iter().all(|request| request.headers.text("webhook-id").as_ref() == Some(&id)));
    }
}

#[tokio::test]
async fn an_upstream_that_never_answers_is_given_up_and_asked_again() {
    let config = CONFIG.replace("url: ${UPSTREAM_URL}", "url: ${UPSTREAM_URL}\n  timeout: 1s");
    let stack = Stack::builder().config(&config).start().await;
    let answers = [Answer::Hang, Answer::status(200).after(Duration::from_secs(3)), Answer::status(200)];
    stack.upstream().program_in_turn(|request| request.path() == "/too-slow", answers);
    let started = Instant::now();
    let answer = stack.client().send(&Request::post("/wal/too-slow", "text/plain", "x")).await;
    assert_eq!(answer.status, 202);
    stack.upstream().requests().wait_for("three attempts", 3, |r| r.path() == "/too-slow").await;
    assert!(started.elapsed() >= Duration::from_secs(2), "{:?}", started.elapsed());
    assert_eq!(stack.dead_letters().with("too-slow"), []);
}

#[tokio::test]
async fn an_absent_upstream_gets_the_message_when_it_is_back() {
    let stack = Stack::builder().start().await;
    stack.upstream().leave().await;
    let answer = stack.client().send(&Request::post("/wal/while-absent", "text/plain", "x")).await;
    assert_eq!(answer.status, 202);
    let refused = stack.push(&Envelope::new("1", "POST", "/pushed-while-absent").body("x")).await;
    assert!(refused.status >= 500, "{}", refused.status);
    assert!(!refused.text().contains("connect"), "{}", refused.text());
    stack.upstream().come_back();
    stack.delivered("/while-absent").await;
}

#[tokio::test]
async fn an_envelope_of_a_newer_version_or_key_waits_for_the_upgrade() {
    let stack = stack().await;
    let newer = Envelope::new("newer-1", "POST", "/newer-1").field("v", 2).body("x");
    assert_eq!(stack.push(&newer).await.status, 503);
    let other_key = "c29tZS1vdGhlci1sb2cta2V5LXdpdGgtMzItYnl0ZXM=";
    let unknown = Envelope::new("newer-2", "POST", "/newer-2").body("x").sealed(other_key);
    assert_eq!(stack.push_data(&unknown).await.status, 503);
    for marker in ["newer-1", "newer-2"] {
        stack.assert_no_trace(marker);
    }
}
