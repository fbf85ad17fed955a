//! Tokens that only their issuer can read, and issuers that answer anything.

use std::time::{Duration, Instant};

use lockgate_e2e::guarded_routes::{AUDIENCE, guarded_stack, no_invalid_token, traps, with_token};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::signing_keys::SigningKey;
use lockgate_e2e::slack::now;
use lockgate_e2e::{Answer, Request, Response, Stack};
use serde_json::{Value, json};

use crate::{ask, attacker, until_good};

/// A door whose programs bring opaque tokens of this provider.
async fn introspecting_stack(provider: &HostileProvider) -> Stack {
    let builder = guarded_stack(provider, |config| {
        config["sign_in"]["tokens"] = json!({"introspection": {
            "endpoint": provider.url("/introspect"), "issuer": "opaque", "client_id": CLIENT_ID,
            "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "audiences": [AUDIENCE], "cache": "1s",
        }});
    });
    let stack = builder.start().await;
    until_good(&stack, &provider.access_token(&json!({"sub": "warm", "aud": AUDIENCE}))).await;
    stack
}

#[tokio::test]
async fn whatever_introspection_answers_but_a_clear_yes_lets_nobody_in() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let good =
        json!({"active": true, "aud": AUDIENCE, "sub": "program-1", "exp": now() + 60, "client_id": "c"});
    let with = |name: &str, value: Value| {
        let mut answer = good.clone();
        answer[name] = value;
        answer.to_string()
    };
    let without = |name: &str| {
        let mut answer = good.clone();
        answer.as_object_mut().unwrap().remove(name);
        answer.to_string()
    };
    let yes = good.to_string();
    let behind = |text: &str| yes.replacen('{', &format!("{{{text},"), 1);
    let mut redirect = Response::new(302);
    redirect.headers.push("location", attacker().url("/introspect"));
    redirect.body = yes.clone().into_bytes();
    let json_answer = |status: u16, text: &str| Answer::with_body(status, "application/json", text);
    // What is said of the token is 401; what says nothing of it is 503.
    let cases: Vec<(&str, u16, Answer)> = vec![
        ("no", 401, json_answer(200, r#"{"active":false}"#)),
        ("no, with everything else", 401, json_answer(200, &with("active", json!(false)))),
        ("a text", 503, json_answer(200, &with("active", json!("true")))),
        ("a number", 503, json_answer(200, &with("active", json!(1)))),
        ("null", 503, json_answer(200, &with("active", Value::Null))),
        ("a list", 503, json_answer(200, &with("active", json!([true])))),
        ("nothing of it", 503, json_answer(200, &without("active"))),
        ("another spelling", 503, json_answer(200, &without("active").replacen('{', "{\"Active\":true,", 1))),
        ("no and yes", 503, json_answer(200, &behind("\"active\":false"))),
        ("yes twice", 503, json_answer(200, &behind("\"active\":true"))),
        ("no in other letters", 503, json_answer(200, &behind("\"\\u0061ctive\":false"))),
        ("an empty object", 503, json_answer(200, "{}")),
        ("an empty body", 503, json_answer(200, "")),
        ("a list of one", 503, json_answer(200, &format!("[{yes}]"))),
        ("true", 503, json_answer(200, "true")),
        ("a text of it", 503, json_answer(200, &json!(yes).to_string())),
        ("two of it", 503, json_answer(200, &format!("{yes}{yes}"))),
        ("half of it", 503, json_answer(200, &yes[..yes.len() - 2])),
        ("a form", 503, json_answer(200, "active=true&sub=program-1")),
        ("a page", 503, Answer::with_body(200, "text/html", "<html>active: true</html>")),
        ("brackets", 503, json_answer(200, &"[".repeat(10_000))),
        (
            "not UTF-8",
            503,
            Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 17\r\n\r\n{\"active\":true\xff\xfe}".to_vec()),
        ),
        ("300 kB", 503, json_answer(200, &with("pad", json!("x".repeat(300_000))))),
        ("500", 503, json_answer(500, &yes)),
        ("502", 503, json_answer(502, &yes)),
        ("503", 503, json_answer(503, &yes)),
        ("404", 503, json_answer(404, &yes)),
        ("400", 503, json_answer(400, &yes)),
        ("401", 503, json_answer(401, &yes)),
        ("403", 503, json_answer(403, &yes)),
        ("429", 503, json_answer(429, &yes)),
        ("304", 503, Answer::status(304)),
        ("204", 503, Answer::status(204)),
        ("a redirect", 503, Answer::Respond(redirect, Duration::ZERO)),
        ("another audience", 401, json_answer(200, &with("aud", json!("https://other.example")))),
        ("no audience", 401, json_answer(200, &without("aud"))),
        (
            "an audience within one",
            401,
            json_answer(200, &with("aud", json!(format!("{AUDIENCE}.evil.example")))),
        ),
        ("over", 401, json_answer(200, &with("exp", json!(now() - 1)))),
        ("an end that is a text", 401, json_answer(200, &with("exp", json!("never")))),
        ("an end of 1e400", 401, json_answer(200, &yes.replace("\"exp\":", "\"exp\":1e400,\"x\":"))),
        ("an end before 1970", 401, json_answer(200, &with("exp", json!(-1)))),
        ("not yet", 401, json_answer(200, &with("nbf", json!(now() + 600)))),
        ("a refresh token", 401, json_answer(200, &with("token_type", json!("refresh_token")))),
        ("used for a refresh", 401, json_answer(200, &with("token_use", json!("refresh_token")))),
        (
            "of nobody",
            401,
            json_answer(200, &json!({"active": true, "aud": AUDIENCE, "exp": now() + 60}).to_string()),
        ),
        ("of two", 401, json_answer(200, &behind("\"sub\":\"admin\""))),
        ("of a line", 401, json_answer(200, &with("sub", json!("a\r\nx: y")))),
        ("of a number", 401, json_answer(200, &with("sub", json!(1)))),
        ("reset", 503, Answer::Reset),
        ("cut", 503, Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"active\":true".to_vec())),
        ("no HTTP", 503, Answer::Raw(b"{\"active\":true}".to_vec())),
    ];
    let answers: Vec<Answer> = cases.iter().map(|(.., answer)| answer.clone()).collect();
    provider.answer(Endpoint::Introspection, move |request| {
        let form = lockgate_e2e::url::decode_form(&request.text());
        let token = form.into_iter().find(|(name, _)| name == "token").map(|(_, value)| value)?;
        answers.get(token.strip_prefix("case-")?.parse::<usize>().ok()?).cloned()
    });
    let mut wrong = Vec::new();
    for (index, (name, status, _)) in cases.iter().enumerate() {
        let answer = ask(&stack, &format!("case-{index}"), "/introspected").await;
        let good = match status {
            401 => no_invalid_token(&answer).is_none(),
            _ => answer.status == 503 && answer.headers.contains("retry-after"),
        };
        if !good {
            wrong.push(format!("{name}: {} {:?} {}", answer.status, answer.headers, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("/introspected");
    let opaque = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    assert_eq!(ask(&stack, &opaque, "/introspected-well").await.status, 200);
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn introspection_that_is_slow_or_gone_is_a_503_in_bounded_time_and_heals() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = |subject: &str| provider.access_token(&json!({"sub": subject, "aud": AUDIENCE}));
    provider.delay(Endpoint::Introspection, Duration::from_millis(300));
    assert_eq!(ask(&stack, &token("slow"), "/slow").await.status, 200, "slow is not gone");

    let hold = provider.hold(Endpoint::Introspection);
    let begin = Instant::now();
    let answer = ask(&stack, &token("held"), "/held").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    hold.release();
    provider.heal();
    assert_eq!(ask(&stack, &token("released"), "/released").await.status, 200);

    let known = token("known");
    assert_eq!(ask(&stack, &known, "/known").await.status, 200);
    provider.leave().await;
    assert_eq!(ask(&stack, &token("gone"), "/gone").await.status, 503);
    provider.come_back();
    assert_eq!(ask(&stack, &token("back"), "/back").await.status, 200);
    for target in ["/held", "/gone"] {
        stack.assert_no_trace(target);
    }
}

#[tokio::test]
async fn introspection_hears_of_the_token_and_of_nothing_else_of_the_caller() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    let request =
        with_token(Request::post("/private-path?private-query=1", "text/plain", "private-body"), &token)
            .header("cookie", "private-cookie=1")
            .header("x-private", "private-header")
            .header("x-forwarded-for", "10.9.8.7")
            .header("user-agent", "private-agent");
    assert_eq!(stack.client().send(&request).await.status, 200);
    let calls = provider.calls().matching(|call| call.request.contains(&token));
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.endpoint, call.parameter("token").as_deref()), (Endpoint::Introspection, Some(&*token)));
    assert!(call.request.headers.text("authorization").unwrap().starts_with("Basic "));
    assert!(!call.request.target.contains(&token), "{}", call.request.target);
    for private in ["private-", "10.9.8.7"] {
        assert!(!call.request.contains(private), "{private}: {:?}", call.request);
    }
}

#[tokio::test]
async fn each_kind_of_token_is_shown_to_its_own_issuer_alone() {
    let [jwt, introspects, google] =
        [HostileProvider::start(), HostileProvider::start(), HostileProvider::start()];
    let builder = guarded_stack(&jwt, |config| {
        config["sign_in"]["tokens"] = json!({
            "jwt": [{"issuer": jwt.issuer(), "audiences": [AUDIENCE]}],
            "introspection": {
                "endpoint": introspects.url("/introspect"), "issuer": "opaque", "client_id": CLIENT_ID,
                "client_secret": {"env": "OIDC_CLIENT_SECRET"}, "audiences": [AUDIENCE], "cache": "1s",
            },
            "google": {"client_ids": [CLIENT_ID], "tokeninfo": google.url("/tokeninfo"), "cache": "1s"},
        });
    });
    let stack = builder.start().await;
    until_good(&stack, &introspects.access_token(&json!({"sub": "warm", "aud": AUDIENCE}))).await;
    let mint = || jwt.mint_access_token(AUDIENCE, "program-1");
    let shown = |provider: &HostileProvider, token: &str| {
        !provider.calls().matching(|call| call.request.contains(token)).is_empty()
    };
    let opaque = introspects.access_token(&json!({"sub": "x", "aud": AUDIENCE}));
    for (name, token, status, expected) in [
        ("signed", mint().compact(), 200, [false, false, false]),
        ("signed and expired", mint().claim("exp", json!(1)).compact(), 401, [false, false, false]),
        (
            "signed by another key",
            mint().sealed_by(&SigningKey::rsa(1)).compact(),
            401,
            [false, false, false],
        ),
        ("signed for another", mint().claim("aud", json!("other")).compact(), 401, [false, false, false]),
        (
            "signed by a key nobody knows",
            mint().head("kid", json!("unknown")).compact(),
            401,
            [false, false, false],
        ),
        ("an ID token", mint().claim("nonce", json!("n")).compact(), 401, [false, false, false]),
        ("opaque", opaque, 200, [false, true, false]),
        ("opaque and unknown", "some-opaque-token".to_owned(), 401, [false, true, false]),
        ("Google's", "ya29.some-token".to_owned(), 401, [false, false, true]),
    ] {
        let answer = ask(&stack, &token, "/own-issuer").await;
        assert_eq!(answer.status, status, "{name}: {}", answer.text());
        let seen = [&jwt, &introspects, &google].map(|provider| shown(provider, &token));
        assert_eq!(seen, expected, "{name}");
    }
}

#[tokio::test]
async fn an_opaque_token_that_was_revoked_ends_with_its_cached_answer() {
    let provider = HostileProvider::start();
    let stack = introspecting_stack(&provider).await;
    let token = provider.access_token(&json!({"sub": "program-1", "aud": AUDIENCE}));
    assert_eq!(ask(&stack, &token, "/revoked").await.status, 200);
    let begin = Instant::now();
    provider.revoke_everything();
    let ended = async {
        loop {
            let answer = ask(&stack, &token, "/revoked").await;
            if answer.status != 200 {
                return answer;
            }
        }
    };
    let answer = tokio::time::timeout(PATIENCE, ended).await.expect("it ends");
    assert_eq!(no_invalid_token(&answer), None);
    assert!(begin.elapsed() < Duration::from_secs(3), "the cache is one second: {:?}", begin.elapsed());
}
