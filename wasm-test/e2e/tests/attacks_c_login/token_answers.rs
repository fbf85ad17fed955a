//! What a token endpoint and a userinfo endpoint can answer.

use std::time::Duration;

use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::siege::Turn;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Response};
use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{assert_no_login, door};

/// Longer than a door waits for a provider, all told.
const BOUND: Duration = Duration::from_secs(7);

async fn sign_in(door: &Turn) -> Response {
    let mut agent = UserAgent::new();
    let callback = door.callback(&mut agent, "/in").await;
    agent.open(&callback.to_string()).await.response
}

fn body(status: u16, text: &str) -> Answer {
    Answer::with_body(status, "application/json", text)
}

#[tokio::test]
async fn an_answer_of_the_token_endpoint_that_is_none_signs_nobody_in() {
    let door = door().await;
    let elsewhere = HostileProvider::start();
    let mut redirect = Response::new(302);
    redirect.headers.push("location", elsewhere.url("/token"));
    redirect.body = b"evil".to_vec();
    let mut moved = redirect.clone();
    moved.status = 307;
    let down = "provider_unavailable";
    let html = "<html><body><script>evil()</script></body></html>";
    let cases = [
        ("500", body(500, "evil"), 503, down),
        ("500 in JSON", body(500, r#"{"error":"evil"}"#), 503, down),
        ("500 invalid_grant", body(500, r#"{"error":"invalid_grant"}"#), 503, down),
        ("503", Answer::with_body(503, "text/html", html), 503, down),
        ("404", Answer::with_body(404, "text/html", html), 503, down),
        ("200 HTML", Answer::with_body(200, "text/html", html), 503, down),
        ("200 nothing", body(200, ""), 503, down),
        ("200 a list", body(200, "[]"), 503, down),
        ("200 null", body(200, "null"), 503, down),
        ("200 a text", body(200, "\"evil\""), 503, down),
        ("200 cut off", body(200, "{\"id_token\":\"evil"), 503, down),
        (
            "200 not UTF-8",
            Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\n{\"\xff\"".to_vec()),
            503,
            down,
        ),
        ("200 deep", body(200, &"[".repeat(100_000)), 503, down),
        ("204", Answer::status(204), 503, down),
        ("302", Answer::Respond(redirect, Duration::ZERO), 503, down),
        ("307", Answer::Respond(moved, Duration::ZERO), 503, down),
        ("304", Answer::status(304), 503, down),
        ("not HTTP", Answer::Raw(b"evil\r\n\r\n".to_vec()), 503, down),
        ("cut off", Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{".to_vec()), 503, down),
        ("reset", Answer::Reset, 503, down),
        ("1 MB of nothing", body(200, &" ".repeat(1 << 20)), 503, down),
        (
            "1 MB error",
            body(400, &format!(r#"{{"error":"invalid_grant","x":"{}"}}"#, "x".repeat(1 << 20))),
            503,
            down,
        ),
        (
            "no ID token",
            body(200, r#"{"access_token":"evil-token","token_type":"Bearer"}"#),
            400,
            "id_token_missing",
        ),
        ("no token", body(200, "{}"), 400, "id_token_missing"),
        ("ID token null", body(200, r#"{"id_token":null}"#), 400, "id_token_missing"),
        ("ID token empty", body(200, r#"{"id_token":""}"#), 400, "id_token_missing"),
        ("ID token a number", body(200, r#"{"id_token":1}"#), 400, "id_token_missing"),
        ("ID token a list", body(200, r#"{"id_token":["a.b.c"]}"#), 400, "id_token_missing"),
        ("200 with an error", body(200, r#"{"error":"invalid_grant"}"#), 400, "id_token_missing"),
        (
            "invalid_grant",
            body(400, r#"{"error":"invalid_grant","error_description":"evil"}"#),
            400,
            "code_refused",
        ),
        ("invalid_grant, 401", body(401, r#"{"error":"invalid_grant"}"#), 400, "code_refused"),
        (
            "invalid_client",
            body(401, r#"{"error":"invalid_client","error_uri":"https://evil"}"#),
            502,
            "client_refused",
        ),
        ("unauthorized_client", body(400, r#"{"error":"unauthorized_client"}"#), 502, "client_refused"),
        ("a script", body(400, r#"{"error":"<script>evil()</script>\r\nevil: 1"}"#), 502, "client_refused"),
        ("an error that is a number", body(400, r#"{"error":7}"#), 503, down),
        ("slow_down", body(429, r#"{"error":"slow_down"}"#), 503, down),
    ];
    for (what, answer, status, reason) in cases {
        door.heal();
        door.provider.answer(Endpoint::Token, move |_| Some(answer.clone()));
        let began = Instant::now();
        let answer = sign_in(&door).await;
        assert_no_login(what, &answer, status);
        assert!(began.elapsed() < BOUND, "{what}: {:?}", began.elapsed());
        assert_eq!(door.stack.reason(&answer).await, reason, "{what}");
        assert!(!answer.text().contains("evil"), "{what}: {}", answer.text());
    }
    assert!(elsewhere.calls().is_empty(), "a redirect was followed");
    let told: Vec<_> = door.log().into_iter().filter(|line| line.contains("evil")).collect();
    assert!(told.is_empty(), "{told:?}");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_provider_that_hangs_costs_seconds_and_nobody_else_waits() {
    let door = door().await;
    let mut other = UserAgent::new();
    door.visit(&mut other, "/other").await;
    let cookies = door.cookies(&other);
    for hang in [Answer::Hang, Answer::status(200).after(Duration::from_secs(60))] {
        door.heal();
        let calls = door.provider.count(Endpoint::Token);
        door.provider.answer(Endpoint::Token, move |_| Some(hang.clone()));
        let mut agent = UserAgent::new();
        let callback = door.callback(&mut agent, "/in").await;
        let began = Instant::now();
        let client = door.stack.client();
        let request =
            lockgate_e2e::siege::navigation(&callback.target).header("cookie", door.cookies(&agent));
        let waits = tokio::spawn(async move { client.send(&request).await });
        door.provider.wait_for_calls(Endpoint::Token, calls + 1).await;
        assert_eq!(door.asks(&cookies).await.status, 200);
        assert_eq!(door.opens("/x", "").await.status, 302);
        assert!(!waits.is_finished(), "the others have not waited");
        let answer = waits.await.unwrap();
        assert_no_login("hangs", &answer, 503);
        assert!(began.elapsed() < BOUND, "{:?}", began.elapsed());
        assert!(answer.headers.contains("retry-after") && answer.text().contains("<h1>"));
        // Its code may be spent, or not: that login is over, and the next one is as good as any.
        door.heal();
        assert_eq!(agent.open(&callback.to_string()).await.response.status, 400);
        assert_eq!(door.visit(&mut agent, "/in").await.response.status, 200);
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_token_that_no_header_can_hold_signs_nobody_in() {
    let door = door().await;
    let odd = [
        "a\r\nx-injected: 1",
        "a\nx-injected: 1",
        "a\u{0}b",
        "a b",
        " a",
        "a\t",
        "\u{e4}",
        "\u{7f}",
        &"a".repeat(16 * 1024 + 1),
        &"a".repeat(200_000),
    ];
    for name in ["access_token", "refresh_token", "id_token"] {
        for text in odd {
            door.heal();
            let value = json!(text);
            door.provider.edit_json(Endpoint::Token, move |body| body[name] = value.clone());
            let answer = sign_in(&door).await;
            let what = format!("{name}: {:.20}", text.escape_debug().to_string());
            let (status, reason) = match text.len() {
                16_385.. => (502, "session_too_large"),
                _ => (503, "provider_unavailable"),
            };
            assert_no_login(&what, &answer, status);
            assert_eq!(door.stack.reason(&answer).await, reason, "{what}");
        }
    }
    let injected = door.provider.calls().matching(|call| call.request.headers.contains("x-injected"));
    assert!(injected.is_empty(), "{injected:?}");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_lifetime_that_cannot_be_true_ends_no_session_and_begins_no_refresh() {
    let door = door().await;
    for life in [
        json!(u64::MAX),
        json!(u64::MAX / 2 + 1),
        json!(u64::MAX / 4 + 1),
        json!("18446744073709551615"),
        json!(u32::MAX),
        json!(1e300),
        json!("soon"),
        json!([]),
        Value::Null,
    ] {
        door.heal();
        let value = life.clone();
        door.provider.edit_json(Endpoint::Token, move |body| body["expires_in"] = value.clone());
        let mut agent = UserAgent::new();
        let page = door.visit(&mut agent, "/in").await;
        assert_eq!((page.response.status, page.url.path()), (200, "/in"), "{life}: {}", page.response.text());
        let exchanged = door.provider.count(Endpoint::Token);
        for _ in 0..3 {
            assert_eq!(door.asks(door.cookies(&agent)).await.status, 200, "{life}");
        }
        assert_eq!(door.provider.count(Endpoint::Token), exchanged, "{life}: refreshed at once");
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn what_userinfo_says_of_somebody_else_is_not_taken() {
    let door = door().await;
    let down = "provider_unavailable";
    let text = |status: u16, text: &str| -> Answer { body(status, text) };
    let whole =
        r#"{"sub":"person-1","email":"person@example.com","email_verified":true,"name":"A","groups":[]}"#;
    let cases = [
        (
            "another subject",
            text(200, r#"{"sub":"person-2","email":"admin@example.com","email_verified":true}"#),
        ),
        ("no subject", text(200, r#"{"email":"admin@example.com","email_verified":true}"#)),
        ("a subject twice", text(200, r#"{"sub":"person-1","sub":"person-2","email":"a@example.com"}"#)),
        ("a subject twice, the right one last", text(200, r#"{"sub":"person-2","sub":"person-1"}"#)),
        ("a subject in another case", text(200, r#"{"sub":"Person-1"}"#)),
        ("a subject and more", text(200, r#"{"sub":"person-1 "}"#)),
        ("a subject in a list", text(200, r#"{"sub":["person-1"]}"#)),
        (
            "an e-mail address twice",
            text(200, r#"{"sub":"person-1","email":"a@example.com","email":"b@example.com"}"#),
        ),
        ("a list", text(200, "[]")),
        ("HTML", Answer::with_body(200, "text/html", "<script>evil()</script>")),
        ("a JWT", Answer::with_body(200, "application/jwt", "eyJhbGciOiJub25lIn0.eyJzdWIiOiJwZXJzb24tMSJ9.")),
        ("nothing", text(200, "")),
        ("500", text(500, whole)),
        ("401", text(401, whole)),
        ("302", text(302, whole)),
        ("reset", Answer::Reset),
        ("1 MB", text(200, &format!(r#"{{"sub":"person-1","name":"{}"}}"#, "n".repeat(1 << 20)))),
    ];
    for (what, answer) in cases {
        door.heal();
        door.provider.behave(|manners| manners.claims_in_id_token = false);
        door.provider.answer(Endpoint::Userinfo, move |_| Some(answer.clone()));
        let answer = sign_in(&door).await;
        assert_no_login(what, &answer, 503);
        assert_eq!(door.stack.reason(&answer).await, down, "{what}");
    }
    // What the ID token says holds, whatever userinfo says of it.
    door.heal();
    door.provider.edit_json(Endpoint::Userinfo, |claims| {
        *claims = json!({"sub": "person-1", "iss": "https://evil.example", "aud": "x", "exp": 1, "nonce": "x",
            "sid": "x", "email": "person@example.com", "email_verified": true, "groups": ["staff"]});
    });
    let mut agent = UserAgent::new();
    assert_eq!(door.visit(&mut agent, "/in").await.response.status, 200);
    let told = agent.fetch(&door.url("/_lockgate/userinfo")).await.response.json();
    assert_eq!((&told["iss"], &told["sub"]), (&json!(door.provider.issuer()), &json!("person-1")));
    door.assert_unharmed().await;
}
