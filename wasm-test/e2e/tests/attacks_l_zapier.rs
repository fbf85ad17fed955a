//! What a program such as Zapier needs to hear: 401 with `error="invalid_token"` makes it fetch another
//! token, and nothing else does. So that is what every bad token gets, and no good one.

use std::sync::OnceLock;
use std::time::{Duration, Instant};

use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, no_invalid_token, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::signing_keys::{Jwt, SigningKey, in_seconds};
use lockgate_e2e::slack::now;
use lockgate_e2e::visitor::until;
use lockgate_e2e::{Answer, Builder, Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

fn provider() -> &'static HostileProvider {
    static PROVIDER: OnceLock<HostileProvider> = OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

/// A door that lets in whoever has an address of `example.com`, by either kind of token.
fn builder(provider: &HostileProvider) -> Builder {
    guarded_stack(provider, |config| {
        config["sign_in"]["policies"] = json!([{"effect": "allow", "domains": ["example.com"]}]);
    })
}

async fn start(provider: &HostileProvider) -> Stack {
    let stack = builder(provider).start().await;
    warm(&stack, provider).await;
    stack
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let stack = Shared::of(&STACK, builder(provider())).await;
    warm(&stack, provider()).await;
    stack
}

/// Returns once tokens can be asked about.
async fn warm(stack: &Stack, provider: &HostileProvider) {
    until("an opaque token is taken", async || {
        (ask(stack, &opaque(provider, "warm"), "warm").await.status == 202).then_some(())
    })
    .await;
}

/// What Zapier's own client sends, with a marker in its body.
fn zap(marker: &str) -> Request {
    let body = json!({"key": marker, "variables": {"a": "b"}}).to_string();
    Request::post("/zapier/engine", "application/json; charset=utf-8", body)
        .header("user-agent", "Zapier")
        .header("accept", "application/json")
}

async fn ask(stack: &Stack, token: &str, marker: &str) -> Response {
    stack.client().send(&with_token(zap(marker), token)).await
}

/// An access token as Google gives it: only tokeninfo knows whose it is.
fn opaque(provider: &HostileProvider, name: &str) -> String {
    provider.access_token(&json!({
        "sub": name, "email": format!("{name}@example.com"), "email_verified": true,
    }))
}

fn signed(name: &str) -> Jwt {
    let token = provider().mint_access_token(AUDIENCE, name);
    token.claim("email", json!(format!("{name}@example.com"))).claim("email_verified", json!(true))
}

/// A token that is over where it was made.
fn expired_opaque(provider: &HostileProvider) -> String {
    provider.behave(|manners| manners.access_lifetime = Duration::ZERO);
    let token = opaque(provider, "late");
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3600));
    token
}

#[tokio::test]
async fn a_good_token_of_either_kind_is_taken_and_goes_no_further() {
    let stack = stack().await;
    for (marker, token) in
        [("zap-signed", signed("zap-signed").compact()), ("zap-opaque", opaque(provider(), "zap-opaque"))]
    {
        let answer = ask(&stack, &token, marker).await;
        assert_eq!(answer.status, 202, "{}", answer.text());
        let delivered = stack.delivered(marker).await;
        assert!(!delivered.contains(&token), "{:?}", delivered.headers);
        assert!(!delivered.headers.contains("authorization"));
        let principal = delivered.headers.text("x-lockgate-principal").unwrap();
        assert!(principal.contains(&format!("{marker}@example.com")), "{principal}");
        for message in stack.stored(marker) {
            assert!(!message.contains(&token), "{}", message.envelope());
        }
    }
}

/// Requests of every manner for the same: a program's, a script's, and what looks like a browser's.
fn manners(marker: &str) -> Vec<(&'static str, Request)> {
    let html = "text/html,application/xhtml+xml,*/*;q=0.8";
    vec![
        ("Zapier", zap(marker)),
        ("no accept", Request::post("/zapier/x", "application/json", format!("{{\"key\":\"{marker}\"}}"))),
        ("a form", Request::post("/zapier/x", "application/x-www-form-urlencoded", format!("key={marker}"))),
        ("GET", Request::get(&format!("/zapier/{marker}"))),
        ("HEAD", Request::new("HEAD", &format!("/zapier/{marker}"))),
        ("PUT", Request::new("PUT", "/zapier/x").body(marker)),
        ("DELETE", Request::new("DELETE", &format!("/zapier/{marker}"))),
        ("OPTIONS", Request::new("OPTIONS", &format!("/zapier/{marker}"))),
        ("that takes pages", zap(marker).header("accept", html)),
        ("a page", Request::get(&format!("/zapier/{marker}")).header("accept", html)),
        (
            "a navigation",
            Request::get(&format!("/zapier/{marker}"))
                .header("accept", html)
                .header("sec-fetch-mode", "navigate")
                .header("sec-fetch-dest", "document"),
        ),
        (
            "a script",
            zap(marker).header("x-requested-with", "XMLHttpRequest").header("origin", "https://zapier.com"),
        ),
        ("the prefix alone", Request { target: "/zapier".to_owned(), ..zap(marker) }),
        ("a query", Request { target: "/zapier/engine?access_token=x&error=none".to_owned(), ..zap(marker) }),
    ]
}

#[tokio::test]
async fn a_bad_token_is_401_invalid_token_whatever_the_request_looks_like() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let revoked = HostileProvider::start();
    let other_client = provider().access_token(&json!({
        "sub": "zap", "email": "zap@example.com", "email_verified": true,
        "aud": "another-client", "client_id": "another-client",
    }));
    let tokens = [
        ("expired, signed", signed("zap").claim("exp", in_seconds(-60)).compact()),
        ("expired, opaque", expired_opaque(provider())),
        ("of another audience", signed("zap").claim("aud", json!("https://other.example")).compact()),
        ("of another key", signed("zap").sealed_by(&SigningKey::p256(9)).compact()),
        ("of another issuer, opaque", opaque(&revoked, "zap")),
        ("of another client, opaque", other_client),
        ("not signed", signed("zap").unsigned("none").compact()),
        ("an ID token", signed("zap").claim("nonce", json!("n")).compact()),
        ("unknown", "ya29.unknown-token".to_owned()),
        ("a word", "x".to_owned()),
    ];
    let mut wrong = Vec::new();
    for (kind, token) in tokens {
        for (manner, request) in manners("zap-refused") {
            let answer = stack.client().send(&with_token(request, &token)).await;
            if let Some(why) = no_invalid_token(&answer) {
                wrong.push(format!("{kind}, {manner}: {why}"));
            }
            for name in ["location", "set-cookie"] {
                if answer.headers.contains(name) {
                    wrong.push(format!("{kind}, {manner}: has {name}"));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("zap-refused");
    assert_eq!(traps(&stack, since), [""; 0]);
}

#[tokio::test]
async fn a_bad_token_beside_a_session_is_401_all_the_same() {
    let stack = stack().await;
    let agent = signed_in(&stack).await;
    assert_eq!(stack.client().send(&with_cookies(&stack, &agent, zap("zap-session"))).await.status, 202);
    for (manner, request) in manners("zap-beside") {
        let request = with_token(with_cookies(&stack, &agent, request), "expired");
        assert_eq!(no_invalid_token(&stack.client().send(&request).await), None, "{manner}");
    }
    stack.assert_no_trace("zap-beside");
}

#[tokio::test]
async fn without_a_token_it_is_401_that_says_a_token_is_wanted() {
    let stack = stack().await;
    for (manner, request) in manners("zap-without") {
        if matches!(manner, "a page" | "a navigation") {
            continue;
        }
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 401, "{manner}: {}", answer.text());
        let challenge = answer.headers.text("www-authenticate").unwrap();
        // RFC 6750, section 3.1: no error where no token came.
        assert!(challenge.starts_with("Bearer ") && !challenge.contains("error="), "{manner}: {challenge}");
        assert!(!answer.headers.contains("location") && !answer.headers.contains("set-cookie"), "{manner}");
    }
    stack.assert_no_trace("zap-without");
}

#[tokio::test]
async fn only_a_good_token_that_may_not_is_403() {
    let stack = stack().await;
    let claims =
        |email: Value, verified: Value| json!({"sub": "zap", "email": email, "email_verified": verified});
    for (name, person) in [
        ("another domain", claims(json!("zap@other.example"), json!(true))),
        ("a domain like it", claims(json!("zap@example.com.evil.example"), json!(true))),
        ("not verified", claims(json!("zap@example.com"), json!(false))),
        ("no address", json!({"sub": "zap"})),
    ] {
        let mut token = provider().mint_access_token(AUDIENCE, "zap");
        token.claims.extend(person.as_object().unwrap().clone());
        for token in [provider().access_token(&person), token.compact()] {
            for (manner, request) in manners("zap-may-not") {
                let answer = stack.client().send(&with_token(request, &token)).await;
                assert_eq!(answer.status, 403, "{name}, {manner}: {}", answer.text());
                assert!(
                    !answer.headers.contains("www-authenticate"),
                    "{name}, {manner}: another token is no help"
                );
                assert!(!answer.headers.contains("location"), "{name}, {manner}");
            }
        }
    }
    stack.assert_no_trace("zap-may-not");
}

#[tokio::test]
async fn a_token_that_ends_is_refused_within_its_cached_second_and_the_next_one_taken_at_once() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3));
    let token = opaque(&provider, "short");
    let end = now() + 3;
    assert_eq!(ask(&stack, &token, "zap-short").await.status, 202);
    let answer = until("its end", async || {
        let answer = ask(&stack, &token, "zap-short").await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(no_invalid_token(&answer), None);
    assert!((end - 1..=end + 1).contains(&now()), "{} s behind its end", now() - end);
    // As Zapier does: a new one with the refresh token, and the same request again.
    let next = opaque(&provider, "short");
    assert_eq!(ask(&stack, &next, "zap-next").await.status, 202);

    let withdrawn = opaque(&provider, "withdrawn");
    assert_eq!(ask(&stack, &withdrawn, "zap-withdrawn").await.status, 202);
    provider.revoke_everything();
    let begin = Instant::now();
    let answer = until("its end", async || {
        let answer = ask(&stack, &withdrawn, "zap-withdrawn").await;
        (answer.status != 202).then_some(answer)
    })
    .await;
    assert_eq!(no_invalid_token(&answer), None);
    assert!(begin.elapsed() < Duration::from_secs(3), "cached for a second: {:?}", begin.elapsed());
}

#[tokio::test]
async fn whatever_tokeninfo_answers_but_a_clear_yes_lets_nobody_in() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let good = json!({
        "azp": CLIENT_ID, "aud": CLIENT_ID, "sub": "zap", "scope": "openid email",
        "exp": (now() + 60).to_string(),
        "expires_in": "60", "email": "zap@example.com", "email_verified": "true", "access_type": "online",
    });
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
    let json_answer = |status: u16, text: &str| Answer::with_body(status, "application/json", text);
    let error = r#"{"error":"invalid_token","error_description":"Invalid Value"}"#;
    let mut redirect = Response::new(302);
    redirect.headers.push("location", provider.url("/tokeninfo-elsewhere"));
    redirect.body = yes.clone().into_bytes();
    let cases: Vec<(&str, u16, Answer)> = vec![
        ("yes", 202, json_answer(200, &yes)),
        ("yes, with numbers", 202, json_answer(200, &with("exp", json!(now() + 60)))),
        ("no", 401, json_answer(400, error)),
        ("no, with everything", 401, json_answer(400, &yes)),
        ("an error with everything else right", 503, json_answer(500, &yes)),
        ("another client", 401, json_answer(200, &with("aud", json!("another-client")))),
        ("a client like it", 401, json_answer(200, &with("aud", json!(format!("{CLIENT_ID}.evil.example"))))),
        ("the client as presenter alone", 401, json_answer(200, &with("aud", json!("another-client")))),
        ("no client", 401, json_answer(200, &without("aud"))),
        ("a list of clients", 401, json_answer(200, &with("aud", json!([CLIENT_ID])))),
        ("two clients", 401, json_answer(200, &behind("\"aud\":\"another-client\""))),
        ("over", 401, json_answer(200, &with("exp", json!((now() - 1).to_string())))),
        ("no end", 401, json_answer(200, &without("exp"))),
        ("an end that is a word", 401, json_answer(200, &with("exp", json!("never")))),
        ("an end of 1e400", 401, json_answer(200, &without("exp").replacen('{', "{\"exp\":1e400,", 1))),
        ("an end before 1970", 401, json_answer(200, &with("exp", json!("-1")))),
        ("a null end", 401, json_answer(200, &with("exp", Value::Null))),
        ("two ends", 401, json_answer(200, &behind("\"exp\":\"1\""))),
        ("nobody", 401, json_answer(200, &without("sub"))),
        ("somebody of two lines", 401, json_answer(200, &with("sub", json!("a\r\nb")))),
        ("two people", 401, json_answer(200, &behind("\"sub\":\"admin\""))),
        ("not verified", 403, json_answer(200, &with("email_verified", json!("false")))),
        ("verified as a word", 403, json_answer(200, &with("email_verified", json!("yes")))),
        ("another domain", 403, json_answer(200, &with("email", json!("zap@other.example")))),
        ("no address", 403, json_answer(200, &without("email"))),
        ("two addresses", 401, json_answer(200, &behind("\"email\":\"a@other.example\""))),
        ("an empty object", 401, json_answer(200, "{}")),
        ("a list", 503, json_answer(200, &format!("[{yes}]"))),
        ("nothing", 503, json_answer(200, "")),
        ("half", 503, json_answer(200, &yes[..yes.len() - 1])),
        ("a page", 503, Answer::with_body(200, "text/html", "<html>It works!</html>")),
        ("brackets", 503, json_answer(200, &"[".repeat(10_000))),
        ("300 kB", 503, json_answer(200, &with("pad", json!("x".repeat(300_000))))),
        ("401", 503, json_answer(401, &yes)),
        ("403", 503, json_answer(403, error)),
        ("404", 503, json_answer(404, error)),
        ("429", 503, json_answer(429, error)),
        ("500", 503, json_answer(500, error)),
        ("503", 503, json_answer(503, error)),
        ("204", 503, Answer::status(204)),
        ("a redirect", 503, Answer::Respond(redirect, Duration::ZERO)),
        ("reset", 503, Answer::Reset),
        ("cut", 503, Answer::Raw(b"HTTP/1.1 200 OK\r\ncontent-length: 900\r\n\r\n{\"aud\":".to_vec())),
        ("no HTTP", 503, Answer::Raw(b"hello\r\n\r\n".to_vec())),
    ];
    let answers: Vec<Answer> = cases.iter().map(|(.., answer)| answer.clone()).collect();
    provider.answer(Endpoint::Tokeninfo, move |request| {
        let form = lockgate_e2e::url::decode_form(&request.text());
        let token = form.into_iter().find(|(name, _)| name == "access_token").map(|(_, value)| value)?;
        answers.get(token.strip_prefix("ya29.case-")?.parse::<usize>().ok()?).cloned()
    });
    let mut wrong = Vec::new();
    for (index, (name, status, _)) in cases.iter().enumerate() {
        let answer = ask(&stack, &format!("ya29.case-{index}"), &format!("zap-case-{status}-")).await;
        let fits = match status {
            401 => no_invalid_token(&answer).is_none(),
            503 => {
                answer.status == 503
                    && answer.headers.contains("retry-after")
                    && !answer.headers.contains("www-authenticate")
            }
            status => answer.status == *status,
        };
        if !fits {
            wrong.push(format!("{name}: {} {:?} {}", answer.status, answer.headers, answer.text()));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    for status in [401, 403, 503] {
        stack.assert_no_trace(&format!("zap-case-{status}-"));
    }
    assert_eq!(provider.count(Endpoint::Other), 0, "a redirect was followed");
    assert_eq!(traps(&stack, 0), [""; 0]);
}

#[tokio::test]
async fn tokeninfo_that_is_slow_or_gone_is_503_in_time_and_heals() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let hold = provider.hold(Endpoint::Tokeninfo);
    let begin = Instant::now();
    let answer = ask(&stack, &opaque(&provider, "held"), "zap-held").await;
    assert_eq!(answer.status, 503, "{}", answer.text());
    assert!(answer.headers.contains("retry-after") && !answer.headers.contains("www-authenticate"));
    assert!(begin.elapsed() < Duration::from_secs(8), "{:?}", begin.elapsed());
    hold.release();
    provider.heal();
    provider.leave().await;
    assert_eq!(ask(&stack, &opaque(&provider, "gone"), "zap-gone").await.status, 503);
    // What needs nobody to be asked works on.
    provider.come_back();
    assert_eq!(ask(&stack, &opaque(&provider, "back"), "zap-back").await.status, 202);
    for marker in ["zap-held", "zap-gone"] {
        stack.assert_no_trace(marker);
    }
}

#[tokio::test]
async fn tokeninfo_is_told_the_token_and_nothing_else_and_not_in_an_address() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let token = opaque(&provider, "private");
    let request = with_token(zap("private-body"), &token).header("cookie", "private-cookie=1");
    let request = request.header("x-private", "private-header").header("x-forwarded-for", "10.9.8.7");
    assert_eq!(stack.client().send(&request).await.status, 202);
    let calls = provider.calls().matching(|call| call.request.contains(&token));
    assert_eq!(calls.len(), 1);
    let call = &calls[0];
    assert_eq!((call.endpoint, call.request.target.as_str()), (Endpoint::Tokeninfo, "/tokeninfo"));
    assert_eq!(call.parameter("access_token").as_deref(), Some(&*token));
    assert!(!call.request.headers.contains("authorization"));
    for private in ["private-", "10.9.8.7"] {
        assert!(!call.request.contains(private), "{private}: {:?}", call.request);
    }
}

/// Google's access tokens are opaque. A signed token is somebody's whom Google is not to hear of.
#[tokio::test]
async fn a_signed_token_is_shown_to_nobody() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let stranger = HostileProvider::start();
    let strangers = stranger.mint_access_token(AUDIENCE, "stranger");
    let mut shown = Vec::new();
    for (name, token) in [
        ("of another issuer", strangers.compact()),
        ("of another issuer, expired", strangers.clone().claim("exp", json!(1)).compact()),
        ("not signed", strangers.clone().unsigned("none").compact()),
        ("with HS256", strangers.clone().with_hs256("x").compact()),
        ("without an issuer", strangers.claim("iss", Value::Null).compact()),
        ("of the queue", stack.tokens().push()),
    ] {
        assert_eq!(no_invalid_token(&ask(&stack, &token, "zap-shown").await), None, "{name}");
        if !provider.calls().matching(|call| call.request.contains(&token)).is_empty() {
            shown.push(name);
        }
    }
    assert!(shown.is_empty(), "Google was shown a token that is: {shown:?}");
}

#[tokio::test]
async fn what_cannot_be_a_token_is_refused_unasked() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let before = provider.count(Endpoint::Tokeninfo);
    for value in [
        &b"Bearer a b"[..],
        b"Bearer \xff\xfe",
        b"Bearer ya29.\xc3\xa9",
        b"Bearer a\tb",
        &[b"Bearer ", &[b'a'; 17_000][..]].concat(),
    ] {
        let answer = stack.client().send(&zap("zap-unasked").header("authorization", value)).await;
        assert_eq!(no_invalid_token(&answer), None, "{}", value.escape_ascii());
    }
    assert_eq!(provider.count(Endpoint::Tokeninfo), before);
    stack.assert_no_trace("zap-unasked");
}

#[tokio::test]
async fn a_refused_token_is_not_asked_about_again_and_again() {
    let provider = HostileProvider::start();
    let stack = start(&provider).await;
    let before = provider.count(Endpoint::Tokeninfo);
    for _ in 0..100 {
        assert_eq!(no_invalid_token(&ask(&stack, "ya29.the-same", "zap-again").await), None);
    }
    assert_eq!(provider.count(Endpoint::Tokeninfo), before + 1);
}

#[tokio::test]
async fn whoever_is_not_let_in_does_not_hear_what_is_wrong_with_the_body() {
    let stack = stack().await;
    let broken = Request::post("/zapier/engine", "application/json", "{\"zap-broken\"");
    let good = signed("zap-broken").compact();
    assert_eq!(stack.client().send(&with_token(broken.clone(), &good)).await.status, 400);
    assert_eq!(no_invalid_token(&stack.client().send(&with_token(broken.clone(), "bad")).await), None);
    assert_eq!(stack.client().send(&broken).await.status, 401);
    stack.assert_no_trace("zap-broken");
}
