//! The configuration of the example `machine-clients` before Ory Hydra, whose introspection wants a token
//! of the door's own; a double stands for Hydra's two addresses.

use std::collections::BTreeMap;

use lockgate_e2e::url::decode_form;
use lockgate_e2e::{Answer, Upstream};

use super::*;

const EXAMPLE: &str = include_str!("../../../../envoy/examples/machine-clients/lockgate.yaml");

const AUDIENCE: &str = "https://orders.example.com";

/// What Hydra knows of a token.
fn known(token: &str) -> Value {
    let active = |sub: &str, scope: &str| {
        json!({
            "active": true, "sub": sub, "client_id": format!("client-of-{sub}"), "scope": scope,
            "aud": [AUDIENCE], "iss": "https://hydra.example.com", "token_type": "Bearer",
            "token_use": "access_token", "exp": lockgate_e2e::slack::now() + 3600,
        })
    };
    let with = |name: &str, value: Value| {
        let mut answer = active("shop", "");
        answer[name] = value;
        answer
    };
    match token {
        "of-shop" => active("shop", "offline"),
        "of-reporting" => active("reporting", ""),
        "of-auditor" => active("auditor", "audit openid"),
        "of-stranger" => active("stranger", "orders"),
        "for-invoices" => with("aud", json!(["https://invoices.example.com"])),
        "for-nobody" => with("aud", json!([])),
        "a-refresh-token" => with("token_use", json!("refresh_token")),
        "expired" => with("exp", json!(lockgate_e2e::slack::now() - 1)),
        _ => json!({"active": false}),
    }
}

struct Hydra {
    admin: Upstream,
    public: Upstream,
}

async fn hydra() -> &'static Hydra {
    static HYDRA: OnceCell<Hydra> = OnceCell::const_new();
    HYDRA
        .get_or_init(async || {
            let (admin, public) = (Upstream::on_free_port(), Upstream::on_free_port());
            let answer = |status, body: Value| Some(Answer::with_body(status, "application/json", &body.to_string()));
            admin.program(move |request| {
                let good = request.method == "POST"
                    && request.path() == "/admin/oauth2/introspect"
                    && request.headers.all("authorization") == [b"Bearer the-doors-own"];
                let form: BTreeMap<_, _> = decode_form(&request.text()).into_iter().collect();
                match form.get("token").filter(|_| good) {
                    Some(token) => answer(200, known(token)),
                    None => answer(401, json!({"error": "request_unauthorized"})),
                }
            });
            public.program(move |request| {
                let form: BTreeMap<_, _> = decode_form(&request.text()).into_iter().collect();
                let good = request.path() == "/oauth2/token"
                    // The secret must be encoded: RFC 6749, section 2.3.1.
                    && request.headers.text("authorization") == Some(lockgate_e2e::relying_party::basic("door", "a+b c"))
                    && form.get("grant_type").map(String::as_str) == Some("client_credentials")
                    && form.get("scope").map(String::as_str) == Some("hydra.introspect");
                let own = json!({"access_token": "the-doors-own", "token_type": "bearer", "expires_in": 3599});
                if good { answer(200, own) } else { answer(401, json!({"error": "invalid_client"})) }
            });
            Hydra { admin, public }
        })
        .await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let Hydra { admin, public } = hydra().await;
    let builder = Stack::builder()
        .config(EXAMPLE)
        .variable("INTROSPECTION_ENDPOINT", &format!("{}/admin/oauth2/introspect", admin.url()))
        .variable("INTROSPECTION_TOKEN_ENDPOINT", &format!("{}/oauth2/token", public.url()))
        .variable("INTROSPECTION_SCOPES", "hydra.introspect")
        .variable("INTROSPECTION_CLIENT_ID", "door")
        .variable("INTROSPECTION_CLIENT_SECRET", "a+b c")
        .variable("AUDIENCE", AUDIENCE);
    Shared::of(&STACK, builder).await
}

async fn ask(stack: &Stack, method: &str, path: &str, token: &str) -> Response {
    let request = Request::new(method, path).header("authorization", format!("Bearer {token}"));
    stack.client().send(&request).await
}

#[tokio::test]
async fn the_policies_of_the_example_hold() {
    let stack = stack().await;
    for (token, method, path, expected) in [
        // Both may read orders, and what belongs to them.
        ("of-shop", "GET", "/orders/123", "200"),
        ("of-reporting", "GET", "/orders/123", "200"),
        ("of-reporting", "HEAD", "/orders/123/lines/7", "200"),
        ("of-shop", "GET", "/orders", "200"),
        // One of them may change them, and not what belongs to them.
        ("of-shop", "POST", "/orders/123", "200"),
        ("of-shop", "DELETE", "/orders/123", "200"),
        ("of-shop", "PUT", "/orders/123/lines/7", "403 not_allowed"),
        ("of-reporting", "POST", "/orders/123", "403 not_allowed"),
        ("of-reporting", "PATCH", "/orders/123", "403 not_allowed"),
        // A denial beats the allowance.
        ("of-reporting", "GET", "/orders/export", "403 denied"),
        ("of-reporting", "GET", "/orders/export/2026", "403 denied"),
        ("of-reporting", "GET", "/orders/exports", "200"),
        ("of-shop", "GET", "/orders/export", "200"),
        // Other resources.
        ("of-shop", "GET", "/invoices/1", "403 not_allowed"),
        ("of-shop", "GET", "/ordersX/1", "403 not_allowed"),
        ("of-shop", "GET", "/orders/../invoices/1", "403 not_allowed"),
        ("of-shop", "GET", "/", "403 not_allowed"),
        // By scope.
        ("of-auditor", "GET", "/audit/7/events", "200"),
        ("of-auditor", "POST", "/audit/7/events", "403 not_allowed"),
        ("of-auditor", "GET", "/audit/7/8/events", "403 not_allowed"),
        ("of-auditor", "GET", "/audit/events", "403 not_allowed"),
        ("of-shop", "GET", "/audit/7/events", "403 missing_scope"),
        // For whom there is no policy.
        ("of-stranger", "GET", "/orders/123", "403 not_allowed"),
        ("of-stranger", "GET", "/audit/7/events", "403 missing_scope"),
        ("for-invoices", "GET", "/orders/123", "401 token_audience"),
        ("for-nobody", "GET", "/orders/123", "401 token_audience"),
        ("a-refresh-token", "GET", "/orders/123", "401 token_type"),
        ("expired", "GET", "/orders/123", "401 token_expired"),
        ("unknown", "GET", "/orders/123", "401 token_inactive"),
    ] {
        let answer = ask(&stack, method, path, token).await;
        let mut seen = answer.status.to_string();
        if answer.status != 200 {
            seen = format!("{seen} {}", stack.reason(&answer).await);
        }
        assert_eq!(seen, expected, "{token} {method} {path}");
    }
    let asked = hydra().await.admin.requests().matching(|request| request.contains("token=of-shop"));
    assert_eq!(asked.len(), 1, "one question for all routes and methods");
    assert_eq!(hydra().await.public.requests().len(), 1, "one token of its own for all of them");
}

#[tokio::test]
async fn the_upstream_learns_subject_and_client_and_no_token() {
    let stack = stack().await;
    for scheme in ["Bearer", "bearer"] {
        let path = format!("/orders/learned-{scheme}-");
        let request = Request::get(&path)
            .header("authorization", format!("{scheme} of-shop"))
            .header("x-lockgate-client", "forged")
            .header("X_Lockgate_Subject", "forged");
        assert_eq!(stack.client().send(&request).await.status, 200);
        let seen = stack.delivered(&path).await;
        assert_eq!(seen.headers.all("x-lockgate-subject"), [b"shop"]);
        assert_eq!(seen.headers.all("x-lockgate-client"), [b"client-of-shop"]);
        assert!(!seen.contains("forged") && !seen.headers.contains("authorization"), "{seen:?}");
    }
}

#[tokio::test]
async fn nobody_without_a_token_comes_in_and_nobody_signs_in() {
    let stack = stack().await;
    let page = Request::get("/orders/1").header("accept", "text/html").header("sec-fetch-mode", "navigate");
    for request in [Request::get("/orders/1"), Request::post("/orders/1", "text/plain", "x"), page] {
        assert_eq!(stack.client().send(&request).await.status, 401);
    }
    for path in ["/_lockgate/sign-in", "/_lockgate/sign-out", "/_lockgate/callback", "/_lockgate/token"] {
        assert_eq!(stack.client().send(&Request::get(path)).await.status, 404, "{path}");
    }
}
