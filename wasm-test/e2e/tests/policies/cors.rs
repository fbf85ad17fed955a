//! Pages of other origins: asked by preflight, answered by Envoy's own filter, judged by the door.

use super::*;

const APP: &str = "https://app.example.com";

async fn with_cors() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let cors = json!({"origins": [APP, "https://other.example.com"], "credentials": true, "max_age": "10m"});
    let routes = json!([
        {"name": "api", "match": {"path_prefix": "/api", "methods": ["GET", "POST"]}, "guard": "oidc", "cors": cors},
        {"name": "any", "match": {"path_prefix": "/any"}, "guard": "oidc", "cors": {"origins": ["*"]}},
        {"name": "open", "match": {"path_prefix": "/open"}, "guard": "public", "cors": {"origins": [APP]}},
    ]);
    let policies = json!([{"effect": "allow", "groups": ["members"]}]);
    Shared::of(&STACK, Stack::builder().config(&config(policies, routes).await)).await
}

fn preflight(path: &str, origin: &str, method: &str) -> Request {
    Request::new("OPTIONS", path)
        .header("origin", origin)
        .header("access-control-request-method", method)
        .header("access-control-request-headers", "authorization, content-type")
}

/// Which origin may read an answer, and whether with cookies.
fn granted(answer: &Response) -> (Option<String>, Option<String>) {
    let header = |name| answer.headers.text(name);
    (header("access-control-allow-origin"), header("access-control-allow-credentials"))
}

#[tokio::test]
async fn a_preflight_of_a_listed_origin_is_answered_without_a_session() {
    let stack = with_cors().await;
    for (path, method, credentials) in
        [("/api/x", "POST", true), ("/api/x", "GET", true), ("/open/x", "PUT", false)]
    {
        let answer = stack.client().send(&preflight(path, APP, method)).await;
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        assert_eq!(granted(&answer), (Some(APP.into()), credentials.then(|| "true".into())), "{path}");
        let methods = answer.headers.text("access-control-allow-methods").unwrap();
        assert!(methods.split(", ").any(|other| other == method), "{path}: {methods}");
        let headers = answer.headers.text("access-control-allow-headers").unwrap();
        assert_eq!(headers, "authorization, content-type");
    }
    stack.assert_no_trace("access-control-request-method");
}

#[tokio::test]
async fn another_origin_is_granted_nothing() {
    let stack = with_cors().await;
    let token = member(&["members"]).await;
    for origin in [
        "https://evil.example.com",
        "http://app.example.com",
        "https://app.example.com:8443",
        "https://app.example.com.evil.org",
        "https://xapp.example.com",
        "HTTPS://APP.EXAMPLE.COM",
        "null",
        "*",
        "",
    ] {
        let answer = stack.client().send(&preflight("/api/x", origin, "POST")).await;
        // What else a preflight is told means nothing without the origin (Fetch, "CORS check").
        assert_eq!(granted(&answer).0, None, "{origin}: {}", answer.status);
        let request = Request::get("/api/by-origin").header("origin", origin);
        assert_eq!(granted(&ask(&stack, request, &token).await), (None, None), "{origin}");
    }
}

#[tokio::test]
async fn a_listed_origin_reads_answers_and_refusals() {
    let stack = with_cors().await;
    let get = || Request::get("/api/read").header("origin", APP);
    let grant = (Some(APP.to_owned()), Some("true".to_owned()));
    for (groups, status) in [(&["members"][..], 200), (&["others"], 403)] {
        let answer = ask(&stack, get(), &member(groups).await).await;
        assert_eq!((answer.status, granted(&answer)), (status, grant.clone()));
    }
    let refused = stack.client().send(&get()).await;
    assert_eq!((refused.status, granted(&refused)), (401, grant));
    assert!(refused.headers.contains("www-authenticate"));
}

#[tokio::test]
async fn every_origin_may_be_granted_but_never_with_cookies() {
    let stack = with_cors().await;
    for answer in [
        stack.client().send(&preflight("/any/x", "https://anybody.example.org", "POST")).await,
        ask(
            &stack,
            Request::get("/any/x").header("origin", "https://anybody.example.org"),
            &member(&["members"]).await,
        )
        .await,
    ] {
        let (origin, credentials) = granted(&answer);
        assert!(origin.is_some() && credentials.is_none(), "{origin:?} {credentials:?}");
    }
}

#[tokio::test]
async fn what_is_no_preflight_passes_only_with_credentials() {
    let stack = with_cors().await;
    let bare = || Request::new("OPTIONS", "/api/options-");
    for request in [
        bare(),
        bare().header("origin", APP),
        bare().header("access-control-request-method", "POST"),
        preflight("/api/options-", APP, "DELETE"),
        preflight("/elsewhere/options-", APP, "POST"),
        Request::new("POST", "/api/options-")
            .header("origin", APP)
            .header("access-control-request-method", "POST"),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, 401, "{request:?}");
    }
    stack.assert_no_trace("options-");
}
