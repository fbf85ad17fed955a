//! Programs come in with tokens: signed ones of several issuers, Cognito's, opaque ones that are
//! introspected, Google's. Nobody is asked oftener than must be, and who cannot be asked is no reason to
//! let anybody in.

use std::ops::Range;
use std::time::{Duration, Instant};

use lockgate_e2e::door::door_config;
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::signing_keys::{SigningKey, in_seconds};
use lockgate_e2e::{Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "programs/cognito.rs"]
mod cognito;
#[path = "programs/google.rs"]
mod google;
#[path = "programs/introspection.rs"]
mod introspection;
#[path = "programs/token_page.rs"]
mod token_page;

/// What a program is told that is to fetch another token.
const INVALID_TOKEN: &str = r#"Bearer realm="lockgate", error="invalid_token""#;

/// A door for programs alone: whoever brings a good token may come in.
fn programs_only(tokens: &Value) -> String {
    door_config("", |config| {
        config["sign_in"] = json!({"tokens": tokens, "policies": [{"effect": "allow", "anyone": true}]});
        config["routes"] = json!([
            {"name": "public", "match": {"path_prefix": "/public"}, "guard": "public"},
            {"name": "other", "match": {"path_prefix": "/other"}, "guard": "oidc"},
        ]);
    })
}

fn with_token(path: &str, token: &str) -> Request {
    Request::get(path).header("authorization", format!("Bearer {token}"))
}

async fn ask(stack: &Stack, path: &str, token: &str) -> Response {
    stack.client().send(&with_token(path, token)).await
}

/// Checks that a token is refused for this reason, in the words that make a program fetch another, and
/// that nothing of the request went on.
async fn assert_refused(stack: &Stack, path: &str, token: &str, reason: &str) {
    let answer = ask(stack, path, token).await;
    let challenge = answer.headers.text("www-authenticate");
    assert_eq!((answer.status, challenge.as_deref()), (401, Some(INVALID_TOKEN)), "{path}");
    assert_eq!(answer.text(), "The token is not valid here.\n", "{path}");
    assert_eq!(stack.reason(&answer).await, reason, "{path}");
    stack.assert_no_trace(path);
}

/// Asks with a token until it is refused, and checks that this was at its time: that it passed before,
/// and never after. For what ends by the clock of a real issuer.
async fn passes_until(stack: &Stack, token: &str, end: Range<Instant>) {
    loop {
        let asked = Instant::now();
        let answer = ask(stack, "/until", token).await;
        if answer.status == 401 {
            assert_eq!(answer.headers.text("www-authenticate").as_deref(), Some(INVALID_TOKEN));
            let now = Instant::now();
            assert!(now >= end.start, "it is refused {:?} before its time", end.start - now);
            return;
        }
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(asked < end.end, "it passes {:?} after its time", asked - end.end);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Two issuers that have nothing in common but this door.
struct Issuers {
    orders: HostileProvider,
    reports: HostileProvider,
}

async fn issuers() -> &'static Issuers {
    static ISSUERS: OnceCell<Issuers> = OnceCell::const_new();
    ISSUERS
        .get_or_init(async || {
            let [orders, reports] =
                [HostileProvider::start(), HostileProvider::named("localhost", "/tenant")];
            reports.rotate_keys(SigningKey::p256(7), true);
            Issuers { orders, reports }
        })
        .await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let Issuers { orders, reports } = issuers().await;
    let config = programs_only(&json!({"jwt": [
        {
            "issuer": orders.issuer(),
            "audiences": ["orders", "https://orders.example.com"],
            "claims": {"token_use": "access"},
        },
        {
            "issuer": reports.issuer(),
            "audiences": ["reports"],
            "claims": {"stage": ["test", "live"]},
            "algorithms": ["ES256"],
        },
    ]}));
    Shared::of(&STACK, Stack::builder().config(&config)).await
}

#[tokio::test]
async fn a_token_of_each_issuer_passes_with_its_own_audience_and_claims() {
    let stack = stack().await;
    let Issuers { orders, reports } = issuers().await;
    let order = |audience: Value| {
        let token = orders.mint_access_token("", "shop").claim("aud", audience);
        token.claim("token_use", json!("access")).compact()
    };
    let report = |stage: Value| reports.mint_access_token("reports", "reporter").claim("stage", stage);
    for (name, token, subject) in [
        ("audience", order(json!("orders")), "shop"),
        ("the-other-audience", order(json!("https://orders.example.com")), "shop"),
        ("several-audiences", order(json!(["elsewhere", "orders"])), "shop"),
        ("another-issuer", report(json!("live")).compact(), "reporter"),
        ("a-list-of-claims", report(json!(["x", "test"])).compact(), "reporter"),
    ] {
        let path = format!("/good-{name}-");
        let answer = ask(&stack, &path, &token).await;
        assert_eq!(answer.status, 200, "{name}: {}", answer.text());
        let seen = stack.delivered(&path).await;
        assert_eq!(seen.headers.text("x-lockgate-subject").as_deref(), Some(subject), "{name}");
        assert!(!seen.headers.contains("authorization") && !seen.contains(&token), "{name}: {seen:?}");
    }
}

#[tokio::test]
async fn what_another_issuer_or_another_service_would_take_is_no_good() {
    let stack = stack().await;
    let Issuers { orders, reports } = issuers().await;
    let order = || orders.mint_access_token("orders", "shop").claim("token_use", json!("access"));
    let report = || reports.mint_access_token("reports", "reporter").claim("stage", json!("live"));
    let stranger = HostileProvider::start();
    let unknown_key = order().sealed_by(&reports.key()).head("alg", json!("ES256"));
    let unknown_key = unknown_key.head("kid", json!(reports.key().kid()));
    // By a key of this issuer's own, which it publishes, too.
    let rsa = SigningKey::rsa(0);
    let other_algorithm = report().sealed_by(&rsa).head("alg", json!("RS256")).head("kid", json!(rsa.kid()));
    for (name, token, reason) in [
        ("the-others-audience", order().claim("aud", json!("reports")), "token_audience"),
        ("no-audience", order().claim("aud", Value::Null), "token_audience"),
        ("the-others-key", unknown_key, "token_unknown_key"),
        ("another-key", order().sealed_by(&SigningKey::rsa(1)), "token_signature"),
        ("the-others-claims", order().claim("token_use", Value::Null), "token_claims"),
        ("a-wrong-claim", order().claim("token_use", json!("id")), "token_claims"),
        ("a-wrong-stage", report().claim("stage", json!("live ")), "token_claims"),
        ("another-algorithm", other_algorithm, "token_algorithm"),
        ("expired", order().claim("exp", in_seconds(-120)), "token_expired"),
        ("no-end", order().claim("exp", Value::Null), "token_expired"),
        ("not-yet", order().claim("nbf", in_seconds(120)), "token_not_yet"),
        ("a-stranger", stranger.mint_access_token("orders", "shop"), "token_issuer"),
        ("a-slash-more", order().claim("iss", json!(format!("{}/", orders.issuer()))), "token_issuer"),
        ("an-id-token", order().head("typ", json!("JWT")).claim("nonce", json!("n")), "token_is_an_id_token"),
        ("a-logout-token", orders.mint_logout_token(Some("shop"), None), "token_type"),
    ] {
        assert_refused(&stack, &format!("/bad-{name}-"), &token.compact(), reason).await;
    }
    for (name, token) in [("empty-parts", ".."), ("two-parts", "a.b"), ("a-word", "word"), ("utf-8", "ü.ü.ü")]
    {
        assert_refused(&stack, &format!("/bad-{name}-"), token, "token_malformed").await;
    }
    assert_eq!(stranger.calls().len(), 0, "a token does not choose who is asked");
}

#[tokio::test]
async fn a_token_may_be_written_as_headers_are_but_only_once() {
    let stack = stack().await;
    let orders = &issuers().await.orders;
    let token = orders.mint_access_token("orders", "shop").claim("token_use", json!("access")).compact();
    for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer    "] {
        let request = Request::get("/scheme").header("authorization", format!("{scheme}{token}  "));
        assert_eq!(stack.client().send(&request).await.status, 200, "{scheme:?}");
    }
    let good = format!("Bearer {token}");
    for pair in [[&*good, &*good], [&*good, "Bearer x"], [&*good, "Basic eDp5"], ["Basic eDp5", &*good]] {
        let request = Request::get("/twice-").header("authorization", pair[0]);
        let answer = stack.client().send(&request.header("authorization", pair[1])).await;
        assert_eq!(answer.status, 401, "{pair:?}");
    }
    for odd in ["Basic Zm9vOmJhcg==", "Bearer", "Bearer ", &token, "Bearer\t", ""] {
        let answer = stack.client().send(&Request::get("/twice-").header("authorization", odd)).await;
        assert_eq!((answer.status, stack.reason(&answer).await.as_str()), (401, "no_credentials"), "{odd:?}");
        let challenge = answer.headers.text("www-authenticate");
        assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="lockgate""#), "{odd:?}");
    }
    stack.assert_no_trace("/twice-");
}

#[tokio::test]
async fn without_credentials_a_program_is_told_401_whatever_it_asks() {
    let stack = stack().await;
    for method in ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PROPFIND"] {
        let answer = stack.client().send(&Request::new(method, "/without-").body("x")).await;
        assert_eq!(answer.status, 401, "{method}");
        let challenge = answer.headers.text("www-authenticate");
        assert_eq!(challenge.as_deref(), Some(r#"Bearer realm="lockgate""#), "{method}");
        assert!(!answer.headers.contains("set-cookie") && !answer.headers.contains("location"), "{method}");
    }
    // There is nobody to sign in with, so a browser is told no more.
    let page = Request::get("/without-").header("accept", "text/html").header("sec-fetch-mode", "navigate");
    assert_eq!(stack.client().send(&page).await.status, 401);
    stack.assert_no_trace("/without-");
    assert_eq!(stack.client().send(&Request::get("/public/open")).await.status, 200);
}

fn one_issuer(issuer: &HostileProvider) -> String {
    programs_only(&json!({"jwt": [{"issuer": issuer.issuer(), "audiences": ["api"]}]}))
}

#[tokio::test]
async fn keys_are_fetched_once_and_again_for_an_unknown_one_at_a_bounded_rate() {
    let issuer = HostileProvider::start();
    let stack = Stack::builder().config(&one_issuer(&issuer)).start().await;
    let started = Instant::now();
    let token = |subject: &str| issuer.mint_access_token("api", subject).compact();
    let [old, not_seen] = [token("before"), token("not seen")];
    let asked = |endpoint| issuer.count(endpoint);
    // Once by the worker, and perhaps by the main thread, which no request uses.
    let once = 1..=2;
    assert_eq!(ask(&stack, "/keys", &old).await.status, 200);
    for number in 0..30 {
        assert_eq!(ask(&stack, "/keys", &token(&format!("program-{number}"))).await.status, 200);
    }
    let counts = [Endpoint::Discovery, Endpoint::Jwks].map(asked);
    assert!(counts.iter().all(|count| once.contains(count)), "{counts:?}");

    issuer.rotate_keys(SigningKey::rsa(1), false);
    let fresh = token("after");
    let unknown = |number: usize| {
        let kid = json!(format!("unknown-{number}"));
        issuer.mint_access_token("api", "flood").head("kid", kid).compact()
    };
    let mut flood = 0;
    while ask(&stack, "/keys", &fresh).await.status != 200 {
        for _ in 0..10 {
            assert_eq!(ask(&stack, "/keys", &unknown(flood)).await.status, 401);
            flood += 1;
        }
        assert!(started.elapsed() < Duration::from_secs(30), "the new key is never found");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for number in 0..50 {
        assert_eq!(ask(&stack, "/keys", &unknown(flood + number)).await.status, 401);
    }
    let counts = [Endpoint::Discovery, Endpoint::Jwks].map(asked);
    assert!(
        once.contains(&counts[0]) && once.contains(&(counts[1] - 1)),
        "{counts:?} in {:?}, for {flood} unknown keys",
        started.elapsed()
    );
    assert_refused(&stack, "/old-key-", &not_seen, "token_unknown_key").await;
}

#[tokio::test]
async fn a_token_is_verified_once() {
    let issuer = HostileProvider::start();
    let stack = Stack::builder().config(&one_issuer(&issuer)).start().await;
    let token = issuer.mint_access_token("api", "program").compact();
    assert_eq!(ask(&stack, "/first", &token).await.status, 200);
    for path in ["/other/second", "/third?x=1"] {
        assert_eq!(ask(&stack, path, &token).await.status, 200);
    }
    let counted = async |name: &str| stack.admin().stat(&format!("wasmcustom.lockgate.oidc.{name}")).await;
    assert_eq!((counted("cache.miss").await, counted("cache.hit").await), (1, 2));
}

#[tokio::test]
async fn without_keys_nobody_knows_and_with_the_last_good_ones_all_goes_on() {
    let issuer = HostileProvider::start();
    issuer.leave().await;
    let stack = Stack::builder().config(&one_issuer(&issuer)).start().await;
    let token = issuer.mint_access_token("api", "program").compact();
    let answer = ask(&stack, "/absent-", &token).await;
    assert_eq!((answer.status, stack.reason(&answer).await.as_str()), (503, "no_keys"));
    assert!(answer.headers.contains("retry-after") && !answer.headers.contains("www-authenticate"));
    assert_eq!(stack.client().send(&Request::get("/_lockgate/ready")).await.status, 503);
    assert_eq!(stack.client().send(&Request::get("/_lockgate/health")).await.status, 204);
    stack.assert_no_trace("/absent-");

    issuer.come_back();
    while stack.client().send(&Request::get("/_lockgate/ready")).await.status != 204 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(ask(&stack, "/back", &token).await.status, 200);
    issuer.leave().await;
    let another = issuer.mint_access_token("api", "another").compact();
    assert_eq!(ask(&stack, "/gone-again", &another).await.status, 200);
    assert_eq!(stack.client().send(&Request::get("/_lockgate/ready")).await.status, 204);
}
