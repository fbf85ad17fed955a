//! Pages of other origins: preflights, and who may read an answer.

use lockgate_e2e::guarded_routes::{OTHER_ORIGIN, with_cookies, with_token};
use lockgate_e2e::{Request, Response, h2c};

use crate::{stack, staff, staff_token};

/// A preflight as a browser sends it.
fn preflight(target: &str, origin: &str) -> Request {
    Request::new("OPTIONS", target)
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "authorization,content-type")
        .header("sec-fetch-mode", "cors")
        .header("x-marker", "a-preflight")
}

/// Whether an answer lets any origin's script read it. What else of CORS is in it means nothing alone.
fn grants(answer: &Response) -> bool {
    answer.headers.contains("access-control-allow-origin")
}

#[tokio::test]
async fn a_true_preflight_of_an_allowed_origin_is_answered_without_a_session() {
    let stack = stack().await;
    for request in [preflight("/api/x", OTHER_ORIGIN), preflight("/api", OTHER_ORIGIN)] {
        let answer = stack.client().send(&request).await;
        assert!(answer.is_success(), "{}: {}", answer.status, answer.text());
        assert_eq!(answer.headers.all("access-control-allow-origin"), [OTHER_ORIGIN.as_bytes()]);
        assert_eq!(answer.headers.all("access-control-allow-credentials"), [b"true"]);
        assert!(answer.headers.text("access-control-allow-methods").unwrap().contains("POST"));
        assert!(answer.headers.text("access-control-allow-headers").unwrap().contains("authorization"));
        assert_eq!(answer.headers.text("access-control-max-age").as_deref(), Some("600"));
        assert!(!answer.headers.contains("set-cookie"));
    }
    stack.assert_no_trace("a-preflight");
}

#[tokio::test]
async fn what_is_no_true_preflight_needs_to_sign_in() {
    let stack = stack().await;
    let without = |name: &str| {
        let mut request = preflight("/api/x", OTHER_ORIGIN);
        request.headers.remove(name);
        request
    };
    let elsewhere =
        ["/rest/x", "/admin/x", "/wal/x", "/zapier/x", "/apix", "/reports/x", "/_lockgate/userinfo"];
    let mut requests: Vec<Request> = elsewhere.map(|target| preflight(target, OTHER_ORIGIN)).into();
    requests.push(without("origin"));
    requests.push(without("access-control-request-method"));
    for method in ["GET", "POST", "PUT"] {
        requests.push(Request { method: method.into(), ..preflight("/api/x", OTHER_ORIGIN) });
    }
    for request in requests {
        let answer = stack.client().send(&request).await;
        assert!(matches!(answer.status, 401 | 404 | 405), "{request:?}: {}", answer.status);
        let cors = request.path() == "/api/x" && request.headers.contains("origin");
        assert_eq!(grants(&answer), cors, "{request:?}: {:?}", answer.headers);
    }
    stack.assert_no_trace("a-preflight");
}

/// Origins that are not the allowed one, however like it they look.
const OTHERS: [&str; 16] = [
    "https://evil.example",
    "null",
    "",
    "*",
    "https://dashboard.example.com.evil.example",
    "https://evil.example/dashboard.example.com",
    "https://xdashboard.example.com",
    "https://dashboardXexample.com",
    "https://x.dashboard.example.com",
    "https://dashboard.example.com:443",
    "https://dashboard.example.com:8443",
    "https://dashboard.example.com/",
    "https://user@dashboard.example.com",
    "http://dashboard.example.com",
    "HTTPS://DASHBOARD.EXAMPLE.COM",
    "https://dashboard.example.com, https://evil.example",
];

#[tokio::test]
async fn no_other_origin_is_let_read_anything() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let token = staff_token();
    for origin in OTHERS {
        let asked = stack.client().send(&preflight("/api/x", origin)).await;
        assert!(!grants(&asked), "preflight from {origin:?}: {:?}", asked.headers);
        let get = Request::get("/api/x").header("origin", origin);
        for request in [
            get.clone(),
            with_token(get.clone(), "bad"),
            with_token(get.clone(), &token),
            with_cookies(&stack, &agent, get),
        ] {
            let answer = stack.client().send(&request).await;
            assert!(!grants(&answer), "{request:?}: {} {:?}", answer.status, answer.headers);
        }
    }
    let two = preflight("/api/x", OTHER_ORIGIN).header("origin", "https://evil.example");
    let answer = stack.client().send(&two).await;
    assert!(!grants(&answer), "two origins: {:?}", answer.headers);
    stack.assert_no_trace("a-preflight");
}

#[tokio::test]
async fn the_allowed_origin_can_read_a_refusal_and_an_answer_and_never_by_a_star() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let get = |target| Request::get(target).header("origin", OTHER_ORIGIN);
    for (request, status) in [
        (get("/api/x"), 401),
        (with_token(get("/api/x"), "bad"), 401),
        (with_token(get("/api/x"), &staff_token()), 200),
        (with_cookies(&stack, &agent, get("/api/x")), 200),
        (Request { method: "POST".into(), ..get("/api/x") }, 401),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, status, "{request:?}");
        assert_eq!(
            answer.headers.all("access-control-allow-origin"),
            [OTHER_ORIGIN.as_bytes()],
            "{request:?}: {:?}",
            answer.headers
        );
        assert_eq!(answer.headers.all("access-control-allow-credentials"), [b"true"], "{request:?}");
        if status == 401 {
            let kept = answer.headers.text("cache-control");
            assert_eq!(kept.as_deref(), Some("no-store"), "what depends on the origin is not kept");
        }
    }
    for target in ["/rest/x", "/admin/x", "/wal/x"] {
        let answer = stack.client().send(&get(target)).await;
        assert!(!grants(&answer), "{target}: {:?}", answer.headers);
    }
}

#[tokio::test]
async fn over_http2_a_preflight_is_the_same() {
    let stack = stack().await;
    let address = stack.client().address();
    let answer = h2c::send(address, &preflight("/api/x", OTHER_ORIGIN)).await.unwrap();
    assert_eq!(answer.headers.all("access-control-allow-origin"), [OTHER_ORIGIN.as_bytes()]);
    let answer = h2c::send(address, &preflight("/api/x", "https://evil.example")).await.unwrap();
    assert!(!grants(&answer), "{:?}", answer.headers);
    let answer = h2c::send(address, &preflight("/rest/x", OTHER_ORIGIN)).await.unwrap();
    assert_eq!(answer.status, 401);
    let plain = Request::new("OPTIONS", "/api/x").header("origin", OTHER_ORIGIN);
    assert_eq!(h2c::send(address, &plain).await.unwrap().status, 401);
}
