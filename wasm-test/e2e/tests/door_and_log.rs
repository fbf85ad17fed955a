//! The door before the log, in the configuration that is shipped: nothing is enqueued for nobody, and
//! whose it was is known when it is played back.

use std::sync::Arc;

use lockgate_e2e::assertion::{key_pem, verified};
use lockgate_e2e::door::{COOKIE_SECRET, door_config, door_stack, public_url};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::oidc_login::sign_in;
use lockgate_e2e::oidc_provider::{CLIENT_ID, CLIENT_SECRET, OidcProvider};
use lockgate_e2e::signing_keys::Jwt;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Journal, Process, Request, Response, Shared, Stack, push_request};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "door_and_log/mistakes.rs"]
mod mistakes;
#[path = "door_and_log/zapier.rs"]
mod zapier;

const SHIPPED: &str = include_str!("../../../envoy/lockgate.yaml");
const ACCOUNT: &str = "job@project-1.iam.gserviceaccount.com";

/// Who people sign in with, and Google, as far as its keys.
struct Issuers {
    people: OidcProvider,
    google: HostileProvider,
}

async fn issuers() -> &'static Issuers {
    static ISSUERS: OnceCell<Issuers> = OnceCell::const_new();
    ISSUERS
        .get_or_init(async || {
            let people = OidcProvider::builder().host("localhost").start().await;
            Issuers { people, google: HostileProvider::start() }
        })
        .await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let Issuers { people, google } = issuers().await;
    let builder = Stack::builder()
        .config(SHIPPED)
        .variable("OIDC_ISSUER", people.issuer())
        .variable("OIDC_CLIENT_ID", CLIENT_ID)
        .variable("OIDC_CLIENT_SECRET", CLIENT_SECRET)
        .variable("COOKIE_SECRET", COOKIE_SECRET)
        .variable("TOKEN_JWKS_URI", &google.url("/jwks"))
        .variable("ASSERTION_KEY", &key_pem(2))
        .variable("ALLOWED_EMAIL_DOMAINS", "example.com,ex-ample.org")
        .variable("ALLOWED_SERVICE_ACCOUNTS", ACCOUNT);
    let stack = Shared::of(&STACK, builder).await;
    static REGISTERED: OnceCell<()> = OnceCell::const_new();
    let register = async || people.register_gateway(&public_url(&stack), &[]).await;
    REGISTERED.get_or_init(register).await;
    stack
}

/// The identity token of the service account that is let in.
async fn account(stack: &Stack) -> Jwt {
    issuers().await.google.mint(json!({
        "iss": "https://accounts.google.com", "aud": public_url(stack), "sub": "1122334455",
        "email": ACCOUNT, "email_verified": true,
    }))
}

fn with_token(request: Request, token: &Jwt) -> Request {
    request.header("authorization", format!("Bearer {}", token.compact()))
}

fn post(path: &str, body: &str) -> Request {
    Request::post(path, "application/json", body)
}

/// Checks that nobody is let in by it, and that it went nowhere.
async fn assert_kept_out(stack: &Stack, request: Request, marker: &str) -> Response {
    let answer = stack.client().send(&request.header("x-marker", marker)).await;
    assert_eq!(answer.status, 401, "{marker}: {}", answer.text());
    assert!(
        answer.headers.text("www-authenticate").is_some_and(|text| text.starts_with("Bearer ")),
        "{marker}"
    );
    assert!(!answer.headers.contains("set-cookie"), "{marker}");
    stack.assert_no_trace(marker);
    answer
}

#[tokio::test]
async fn without_a_token_nothing_is_enqueued() {
    let stack = stack().await;
    for (number, target) in [
        "/wal",
        "/wal/x",
        "/wal/x?y=z",
        "/wal/zapier/x",
        "/zapier/x",
        "/zapier",
        "//wal/x",
        "/public/../wal/x",
    ]
    .into_iter()
    .enumerate()
    {
        for method in ["POST", "PUT", "DELETE", "GET", "OPTIONS"] {
            let marker = format!("no-token-{number}-{method}-");
            let request = Request::new(method, target).header("content-type", "application/json").body("{}");
            assert_kept_out(&stack, request, &marker).await;
        }
    }
    let bad = account(&stack).await.claim("aud", json!("https://elsewhere.example.com"));
    for path in ["/wal/bad-token-", "/zapier/bad-token-"] {
        assert_kept_out(&stack, with_token(post(path, "{}"), &bad), path).await;
    }
    // Somebody who is known and may not.
    let stranger = account(&stack).await.claim("email_verified", json!(false));
    let answer = stack.client().send(&with_token(post("/wal/not-allowed-", "{}"), &stranger)).await;
    assert_eq!(answer.status, 403, "{}", answer.text());
    stack.assert_no_trace("not-allowed-");
}

#[tokio::test]
async fn what_a_program_enqueues_arrives_with_its_name() {
    let stack = stack().await;
    let token = account(&stack).await;
    let body = r#"{"variables": {"n": 12345678901234567890}, "list": [], "b": 1.50}"#;
    for (path, later) in [
        ("/zapier/from-a-program?a=1", "/zapier/from-a-program?a=1"),
        ("/wal/to-a-program?a=1", "/to-a-program?a=1"),
    ] {
        let answer = stack.client().send(&with_token(post(path, body), &token)).await;
        assert_eq!(answer.status, 202, "{path}: {}", answer.text());
        let seen = stack.delivered(later).await;
        assert_eq!((&*seen.target, &*seen.text()), (later, body), "as it was sent");
        assert_eq!(
            seen.headers.text("x-lockgate-message-id"),
            Some(answer.json()["id"].as_str().unwrap().to_owned())
        );
        let principal: Value =
            serde_json::from_str(&seen.headers.text("x-lockgate-principal").unwrap()).unwrap();
        let expected = json!({
            "filter": "oidc", "issuer": "https://accounts.google.com", "subject": "1122334455", "email": ACCOUNT,
        });
        assert_eq!(principal, expected);
        let keys = stack.client().send(&Request::get("/_lockgate/jwks")).await.json();
        let claims = verified(&seen.headers.text("x-lockgate-assertion").unwrap(), &keys);
        assert_eq!((&claims["email"], &claims["aud"]), (&json!(ACCOUNT), &json!(stack.upstream().url())));
        assert!(!seen.headers.contains("authorization"), "{seen:?}");
        assert!(!stack.stored(later)[0].contains(&token.compact()), "the token is stored");
    }
}

#[tokio::test]
async fn a_caller_hears_that_its_json_is_broken_and_nothing_of_it_is_stored() {
    let stack = stack().await;
    let token = account(&stack).await;
    for (number, body) in
        ["{\"a\":", "{'a': 1}", "{\"a\": 1}x", "\u{ff}", "{\"a\": \"\\ud800\"}"].iter().enumerate()
    {
        let marker = format!("broken-{number}-");
        let request = with_token(post("/zapier/broken", body), &token).header("x-marker", &marker);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        stack.assert_no_trace(&marker);
    }
    let request = with_token(Request::post("/zapier/broken-type-", "image/png", "x"), &token);
    assert_eq!(stack.client().send(&request).await.status, 415);
    stack.assert_no_trace("broken-type-");
}

#[tokio::test]
async fn a_person_is_sent_to_sign_in_and_may_enqueue_then() {
    let stack = stack().await;
    let address = format!("{}/wal/a-persons-page", public_url(&stack));
    let mut agent = UserAgent::new();
    let page = agent.open(&address).await;
    let location = page.location().expect("a redirect to the provider");
    assert_eq!((page.response.status, location.origin()), (302, issuers().await.people.issuer().to_owned()));
    stack.assert_no_trace("/a-persons-page");
    // A script and a form are not sent anywhere.
    assert_eq!(agent.fetch(&address).await.response.status, 401);
    stack.assert_no_trace("/a-persons-page");

    let page = sign_in(&mut agent, &address, "ann").await;
    assert_eq!((page.response.status, page.url.to_string()), (202, address), "{}", page.response.text());
    assert_eq!(stack.delivered("/a-persons-page").await.method, "GET");

    let form = Url::parse(&format!("{}/wal/a-persons-form", public_url(&stack)));
    let request = Request::post("/", "text/plain", "of a person").header("origin", public_url(&stack));
    let answer = agent.try_send(&form, request).await.unwrap().response;
    assert_eq!(answer.status, 202, "{}", answer.text());
    let seen = stack.delivered("/a-persons-form").await;
    assert_eq!(seen.text(), "of a person");
    let principal: Value = serde_json::from_str(&seen.headers.text("x-lockgate-principal").unwrap()).unwrap();
    assert_eq!((&principal["subject"], &principal["email"]), (&json!("ann"), &json!("ann@example.com")));
    assert!(!seen.contains("lockgate=") && !seen.headers.contains("cookie"), "{seen:?}");
}

#[tokio::test]
async fn a_person_of_another_domain_may_not_enqueue() {
    let stack = stack().await;
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{}/", public_url(&stack)), "eve@example.org").await;
    assert_eq!(page.response.status, 403);
    let url = Url::parse(&format!("{}/wal/of-another-domain", public_url(&stack)));
    let answer = agent.try_send(&url, Request::post("/", "text/plain", "x")).await.unwrap().response;
    assert_eq!((answer.status, &*stack.reason(&answer).await), (403, "not_allowed"));
    stack.assert_no_trace("/of-another-domain");
}

#[tokio::test]
async fn a_push_token_and_anybody_elses_do_not_open_each_others_routes() {
    let stack = stack().await;
    let account = account(&stack).await;
    let push = format!("Bearer {}", stack.tokens().push());
    for path in ["/wal/with-a-push-token", "/zapier/with-a-push-token", "/with-a-push-token"] {
        assert_kept_out(&stack, post(path, "{}").header("authorization", &push), "with-a-push-token").await;
    }
    let envelope = lockgate_e2e::Envelope::new("with-an-accounts-token", "POST", "/with-an-accounts-token");
    let request = push_request(&envelope.sealed(lockgate_e2e::stack::LOG_KEY), json!({}));
    let mut agent = UserAgent::new();
    let page = sign_in(&mut agent, &format!("{}/", public_url(&stack)), "ann").await;
    let cookies = agent.jar.header(&page.url).expect("a session");
    for request in [with_token(request.clone(), &account), request.clone().header("cookie", cookies), request]
    {
        assert_eq!(stack.client().send(&request).await.status, 401);
    }
    let by_get = Request::get("/wal-playback").header("authorization", &push);
    assert_eq!(stack.client().send(&by_get).await.status, 401, "the playback takes POST alone");
    stack.assert_no_trace("with-an-accounts-token");
}

#[tokio::test]
async fn what_has_no_route_is_for_those_who_are_let_in() {
    let stack = stack().await;
    let token = account(&stack).await;
    for path in ["/", "/elsewhere", "/walX", "/zapierX/x", "/slack", "/WAL/x"] {
        assert_eq!(stack.client().send(&Request::get(path)).await.status, 401, "{path}");
        let answer = stack.client().send(&with_token(Request::get(path), &token)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
    }
    for path in ["/health", "/_lockgate/health", "/_lockgate/ready"] {
        assert_eq!(stack.client().send(&Request::get(path)).await.status, 204, "{path}");
    }
    // No token of the proxy's own, and no way around, is reachable.
    for path in ["/computeMetadata/v1/instance/service-accounts/default/token", "/token", "/_lockgate/token"]
    {
        assert!(matches!(stack.client().send(&Request::get(path)).await.status, 401 | 404), "{path}");
    }
}
