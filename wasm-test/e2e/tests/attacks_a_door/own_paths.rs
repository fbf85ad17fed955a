//! The door's own pages, and nothing behind them.

use lockgate_e2e::Request;
use lockgate_e2e::guarded_routes::{with_cookies, with_token};

use crate::{raw, stack, staff, staff_token};

#[tokio::test]
async fn the_doors_own_paths_never_lead_to_the_upstream() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let known = with_cookies(&stack, &agent, Request::get("/"));
    let cookie = format!("cookie: {}\r\n", known.headers.text("cookie").unwrap());
    let mut wrong = Vec::new();
    for (number, target) in [
        "/_lockgate/",
        "/_lockgate/x",
        "/_lockgate/userinfo/",
        "/_lockgate/userinfo/x",
        "/_lockgate//userinfo",
        "/_lockgate/./userinfo",
        "/_lockgate/%75serinfo",
        "/_lockgate/USERINFO",
        "/_lockgate/userinfo;x",
        "/_lockgate/callback/",
        "/_lockgate/callback/other",
        "/_lockgate/callback/../x",
        "/_lockgate/callback;/x",
        "/_lockgate/token",
        "/_lockgate/jwks",
        "/_lockgate/health/x",
        "/_lockgate/HEALTH",
        "/_lockgate/back-channel-logout",
        "/_lockgate/back-channel-logout/x",
        "//_lockgate/userinfo",
        "/%5flockgate/userinfo",
        "/public/../_lockgate/userinfo",
        "/_lockgate/sign-in/x",
        "/_lockgate/.well-known",
        "/_lockgate/x.",
    ]
    .into_iter()
    .enumerate()
    {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "DELETE", "TRACE"] {
            for headers in ["", &cookie] {
                let marker = format!("own-{number}-{method}-{}-", headers.is_empty());
                let headers = format!("x-marker: {marker}\r\n{headers}");
                let answer = raw(stack.client(), method, target.as_bytes(), &headers).await;
                let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
                if !reached.is_empty() {
                    wrong.push(format!("{method} {target} reached the upstream as {}", reached[0].target));
                }
                match answer {
                    Some(answer) if answer.status < 500 => {}
                    other => wrong.push(format!(
                        "{method} {target} {}: {:?}",
                        if headers.contains("cookie") { "by staff" } else { "by nobody" },
                        other.map(|answer| (answer.status, answer.text()))
                    )),
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_own_page_is_that_page_however_it_is_written() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for target in
        ["/_lockgate//userinfo", "/_lockgate/x/../userinfo", "/%5flockgate/userinfo", "//_lockgate/userinfo"]
    {
        let answer = stack.client().send(&with_cookies(&stack, &agent, Request::get(target))).await;
        assert_eq!((answer.status, answer.json()["sub"].as_str()), (200, Some("person-1")), "{target}");
        assert_eq!(stack.client().send(&Request::get(target)).await.status, 401, "{target}");
    }
    for target in ["/_lockgate/", "/_lockgate/x", "/_lockgate/userinfo/", "/_lockgate/userinfo;x"] {
        let answer = stack.client().send(&with_cookies(&stack, &agent, Request::get(target))).await;
        assert_eq!(answer.status, 404, "{target}: {}", answer.text());
    }
}

#[tokio::test]
async fn the_doors_own_prefix_is_no_page() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for target in ["/_lockgate", "/_lockgate?x=y"] {
        let request = Request::get(target);
        for request in [
            with_cookies(&stack, &agent, request.clone()),
            with_token(request.clone(), &staff_token()),
            request,
        ] {
            let answer = stack.client().send(&request).await;
            assert!(matches!(answer.status, 401 | 404), "{target}: {} {}", answer.status, answer.text());
        }
    }
}
