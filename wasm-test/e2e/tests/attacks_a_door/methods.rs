//! Methods and hosts, however they are written.

use lockgate_e2e::guarded_routes::{guarded_stack, with_cookies, with_token};
use lockgate_e2e::{Request, Shared, Stack, h2c};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::{provider, raw, stack, staff, staff_token};

#[tokio::test]
async fn only_get_head_and_options_read() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (method, status) in [
        ("GET", 200),
        ("HEAD", 200),
        ("OPTIONS", 200),
        ("POST", 403),
        ("PUT", 403),
        ("DELETE", 403),
        ("PATCH", 403),
    ] {
        let marker = format!("reads-{method}-");
        let request = Request::new(method, "/reports/x")
            .header("x-http-method-override", "GET")
            .header("x-method-override", "GET")
            .header("x-http-method", "GET")
            .header("x-marker", &marker);
        let request = with_cookies(&stack, &agent, request);
        assert_eq!(stack.client().send(&request).await.status, status, "{method}");
        let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
        assert_eq!(reached.len(), usize::from(status == 200), "{method}");
    }
    // Whatever is no method of HTTP's own writes, if it comes so far.
    for method in ["get", "Get", "head", "options", "GETX", "PROPFIND", "TRACE", "MKCOL", "X"] {
        let marker = format!("odd-reads-{method}-");
        let request =
            with_cookies(&stack, &agent, Request::new(method, "/reports/x").header("x-marker", &marker));
        if let Ok(answer) = stack.client().try_send(&request).await {
            assert!(
                (400..500).contains(&answer.status) || answer.status == 501,
                "{method}: {}",
                answer.status
            );
        }
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn over_http2_a_lower_case_method_does_not_read() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let send = |method: &str| {
        let request = Request::new(method, "/reports/x").header("x-marker", format!("h2-reads-{method}-"));
        let request = with_cookies(&stack, &agent, request);
        let address = stack.client().address();
        async move { h2c::send(address, &request).await.unwrap().status }
    };
    assert_eq!(send("GET").await, 200);
    for method in ["get", "Get", "hEAD", "PROPFIND", "X"] {
        assert!(matches!(send(method).await, 400..=499), "{method}");
        stack.assert_no_trace(&format!("h2-reads-{method}-"));
    }
}

/// A door where only admins may send to `/forms`, and where a host of its own is theirs alone.
async fn narrow_stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let builder = guarded_stack(provider(), |config| {
        let admins = json!([{"groups": ["admins"]}]);
        let forms = json!({"path_prefix": "/forms", "methods": ["POST", "PUT"]});
        let host = json!({"path_prefix": "/", "hosts": ["admin.e2e.example"]});
        config["routes"].as_array_mut().unwrap().splice(
            0..0,
            [
                json!({"name": "forms", "match": forms, "guard": "oidc", "allow": admins}),
                json!({"name": "host", "match": host, "guard": "oidc", "allow": admins}),
            ],
        );
    });
    Shared::of(&STACK, builder).await
}

#[tokio::test]
async fn a_rule_for_a_method_holds_however_the_method_is_written() {
    let stack = narrow_stack().await;
    let token = staff_token();
    for (method, status) in [("GET", 200), ("POST", 403), ("PUT", 403)] {
        let request = with_token(Request::new(method, "/forms/x"), &token);
        assert_eq!(stack.client().send(&request).await.status, status, "{method}");
    }
    let mut wrong = Vec::new();
    for method in ["post", "Post", "pOST", "put", "PuT"] {
        let marker = format!("method-{method}-");
        let request = with_token(Request::new(method, "/forms/x").header("x-marker", &marker), &token);
        let _ = stack.client().try_send(&request).await;
        let _ = h2c::send(stack.client().address(), &request).await;
        let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
        wrong.extend(reached.into_iter().map(|reached| format!("{} {}", reached.method, reached.target)));
    }
    // Servers there are that read any case as upper case.
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn a_rule_for_a_host_holds_however_the_host_is_written() {
    let stack = narrow_stack().await;
    let token = staff_token();
    let mut wrong = Vec::new();
    for host in [
        "admin.e2e.example",
        "ADMIN.e2e.Example",
        "admin.e2e.example:80",
        "admin.e2e.example:65535",
        "admin.e2e.example.",
        "admin.e2e.example.:80",
        "admin.e2e.example:",
        "admin.e2e.example:x",
    ] {
        let marker = format!("host-{}-", lockgate_e2e::url::encode(host));
        let request = with_token(Request::get("/x").header("host", host).header("x-marker", &marker), &token);
        let status = stack.client().send(&request).await.status;
        let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
        if !(400..500).contains(&status) || !reached.is_empty() {
            let told = reached.first().and_then(|request| request.headers.text("x-forwarded-host"));
            wrong.push(format!("{host}: {status}, and the upstream was told {told:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let request = with_token(Request::get("/x").header("host", "other.e2e.example"), &token);
    assert_eq!(stack.client().send(&request).await.status, 200);
    // What only names the host elsewhere does not have its rule, and is not told to be there.
    let named = with_token(Request::get("/x").header("x-forwarded-host", "admin.e2e.example"), &token);
    let named = named.header("x-marker", "named-host").header("x-host", "admin.e2e.example");
    assert_eq!(stack.client().send(&named).await.status, 200);
    let told = stack.delivered("named-host").await.headers.text("x-forwarded-host");
    assert!(!told.unwrap_or_default().contains("admin"));
}

/// Envoy chooses the route, and the filter the rule. Where the two read a request differently it must
/// go nowhere: neither what is open for one method or host nor what stands behind it.
#[tokio::test]
async fn what_two_readers_of_a_request_disagree_on_is_open_to_nobody() {
    let stack = guarded_stack(provider(), |config| {
        let open = json!({"path_prefix": "/wal", "methods": ["GET"]});
        let host = json!({"path_prefix": "/", "hosts": ["open.e2e.example"]});
        config["routes"].as_array_mut().unwrap().splice(
            0..0,
            [
                json!({"name": "open-method", "match": open, "guard": "public"}),
                json!({"name": "open-host", "match": host, "guard": "public"}),
            ],
        );
    });
    let stack = stack.start().await;
    let address = stack.client().address();
    let mut wrong = Vec::new();
    let methods = ["get", "Get", "gET"].map(|method| (method, None));
    let hosts = ["open.e2e.example.", "OPEN.e2e.example.", "open.e2e.example.:80", "open.e2e.example:x"];
    let hosts = hosts.into_iter().flat_map(|host| [("GET", Some(host)), ("POST", Some(host))]);
    for (number, (method, host)) in methods.into_iter().chain(hosts).enumerate() {
        for target in ["/wal/x", "/zapier/x", "/rest/x", "/admin/x", "/wal-playback", "/slack/x"] {
            let marker = format!("readers-{number}-{}-", target.len());
            let mut request = Request::new(method, target).header("content-type", "application/json");
            request = request.header("x-marker", &marker).body(format!("{{\"x\":\"{marker}\"}}"));
            if let Some(host) = host {
                request = request.header("host", host);
            }
            let _ = stack.client().try_send(&request).await;
            if host.is_none() {
                let _ = h2c::send(address, &request).await;
            }
            if !stack.stored(&marker).is_empty() {
                wrong.push(format!("{method} {target} of {host:?} was stored"));
            }
            // As an open path it may pass, where the rule for it is that of the open host.
            let reached = stack.upstream().requests().matching(|request| request.contains(&marker));
            if !reached.is_empty() && host.is_none() {
                wrong.push(format!("{method} {target} became {} {}", reached[0].method, reached[0].target));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(stack.client().send(&Request::get("/wal/open")).await.status, 200);
    assert_eq!(stack.client().send(&Request::post("/wal/x", "text/plain", "x")).await.status, 401);
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let known = with_cookies(&stack, &agent, Request::get("/"));
    let cookie = format!("x-marker: tunnel\r\ncookie: {}\r\n", known.headers.text("cookie").unwrap());
    for target in ["127.0.0.1:80", "/public/x", "/rest", "evil.example:443", "*"] {
        for headers in ["x-marker: tunnel\r\n", &cookie] {
            let answer = raw(stack.client(), "CONNECT", target.as_bytes(), headers).await;
            assert!(answer.is_none_or(|answer| answer.status >= 400), "{target}");
        }
    }
    stack.assert_no_trace("tunnel");
}
