//! Who may do what where: policies by verb and resource, denials, groups, domains, a route's own lists,
//! and what is open to everybody.

use lockgate_e2e::door::door_config;
use lockgate_e2e::hostile_provider::HostileProvider;
use lockgate_e2e::signing_keys::Jwt;
use lockgate_e2e::{Request, Response, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

#[path = "policies/cors.rs"]
mod cors;
#[path = "policies/domains.rs"]
mod domains;
#[path = "policies/hydra.rs"]
mod hydra;

const METHODS: [&str; 8] = ["GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "PROPFIND"];

async fn issuer() -> &'static HostileProvider {
    static ISSUER: OnceCell<HostileProvider> = OnceCell::const_new();
    ISSUER.get_or_init(async || HostileProvider::start()).await
}

/// A door that takes this issuer's tokens, with these policies and routes.
async fn config(policies: Value, routes: Value) -> String {
    let issuer = issuer().await.issuer();
    door_config("", |config| {
        config["sign_in"] = json!({
            "tokens": {"jwt": [{"issuer": issuer, "audiences": ["api"]}]},
            "policies": policies,
        });
        config["routes"] = routes;
    })
}

/// A token of somebody.
async fn token(claims: Value) -> Jwt {
    let mut all = json!({"aud": "api", "sub": "somebody", "jti": next_id()});
    for (name, value) in claims.as_object().into_iter().flatten() {
        all[name] = value.clone();
    }
    issuer().await.mint(all)
}

/// Tokens that say the same must not be the same: what is known of one is not asked again.
fn next_id() -> String {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    format!("token-{}", NUMBER.fetch_add(1, Ordering::Relaxed))
}

async fn ask(stack: &Stack, request: Request, token: &Jwt) -> Response {
    let request = request.header("authorization", format!("Bearer {}", token.compact()));
    stack.client().send(&request).await
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    let policies = json!([
        {"effect": "allow", "groups": ["readers"], "actions": ["read"], "match": {"path_prefix": "/files"}},
        {"effect": "allow", "groups": ["writers"], "actions": ["write"], "match": {"path_prefix": "/files"}},
        {"effect": "allow", "groups": ["editors"], "match": {"path_prefix": "/files"}},
        {"effect": "deny", "groups": ["suspended"]},
        {"effect": "allow", "groups": ["buyers"], "match": {"pattern": "/orders/*/lines/**"}},
        {"effect": "deny", "groups": ["buyers"], "match": {"pattern": "/orders/*/lines/secret"}, "actions": ["read"]},
        {"effect": "allow", "groups": ["insiders"]},
        {"effect": "deny", "groups": ["guests"], "match": {"path_prefix": "/files"}, "actions": ["write"]},
    ]);
    let routes = json!([
        {"name": "world", "match": {"path_prefix": "/anonymous"}, "guard": "public"},
        {"name": "admin", "match": {"path_prefix": "/admin"}, "guard": "oidc",
         "allow": [{"groups": ["admins"]}], "deny": [{"groups": ["contractors"]}]},
        {"name": "open-read", "match": {"path": "/method", "methods": ["GET", "HEAD"]}, "guard": "public"},
        {"name": "post", "match": {"path": "/method", "methods": ["POST"]}, "guard": "oidc",
         "allow": [{"groups": ["posters"]}]},
        {"name": "intranet", "match": {"path_prefix": "/", "hosts": ["intranet.example.com"]}, "guard": "oidc",
         "allow": [{"groups": ["staff"]}]},
        {"name": "www", "match": {"path_prefix": "/page", "hosts": ["www.example.com"]}, "guard": "public"},
        {"name": "both", "match": {"path_prefix": "/both"}, "guard": "oidc",
         "allow": [{"groups": ["staff"], "emails": ["boss@example.com"]}, {"subjects": ["root"]}]},
        {"name": "scoped", "match": {"path_prefix": "/scoped"}, "guard": "oidc",
         "allow": [{"scopes": ["x.read", "x.write"]}]},
    ]);
    Shared::of(&STACK, Stack::builder().config(&config(policies, routes).await)).await
}

async fn member(groups: &[&str]) -> Jwt {
    token(json!({"groups": groups})).await
}

/// The refusal of somebody who is known and may not.
async fn assert_forbidden(stack: &Stack, answer: &Response, reason: &str, what: &str) {
    assert_eq!((answer.status, &*stack.reason(answer).await), (403, reason), "{what}");
}

#[tokio::test]
async fn a_read_policy_lets_read_and_a_write_policy_write() {
    let stack = stack().await;
    for method in METHODS {
        let read = matches!(method, "GET" | "HEAD" | "OPTIONS");
        for (group, allowed) in [("readers", read), ("writers", !read), ("editors", true), ("others", false)]
        {
            let path = format!("/files/{method}-{group}-");
            let answer = ask(&stack, Request::new(method, &path), &member(&[group]).await).await;
            if allowed {
                assert_eq!(answer.status, 200, "{group}: {method}");
                assert_eq!(stack.delivered(&path).await.method, method);
            } else {
                assert_forbidden(&stack, &answer, "not_allowed", &path).await;
                stack.assert_no_trace(&path);
            }
        }
    }
    // What else a method is called in a header counts for nothing.
    for name in ["x-http-method-override", "x-http-method", "x-method-override"] {
        let disguised = Request::new("POST", "/files/disguised-?_method=GET").header(name, "GET");
        let answer = ask(&stack, disguised, &member(&["readers"]).await).await;
        assert_forbidden(&stack, &answer, "not_allowed", name).await;
    }
    stack.assert_no_trace("/files/disguised-");
}

#[tokio::test]
async fn a_denial_beats_every_allowance_wherever_it_stands() {
    let stack = stack().await;
    for (method, path, groups, reason) in [
        ("GET", "/files/1", &["editors", "suspended"][..], "denied"),
        ("GET", "/anything", &["insiders", "suspended"], "denied"),
        ("GET", "/admin", &["admins", "suspended"], "denied"),
        ("GET", "/admin", &["admins", "contractors"], "denied"),
        ("POST", "/files/1", &["editors", "guests"], "denied"),
        ("GET", "/orders/1/lines/secret", &["buyers", "insiders"], "denied"),
        // One that fits nobody's allowance is a denial all the same.
        ("GET", "/nowhere", &["suspended"], "denied"),
    ] {
        let answer = ask(&stack, Request::new(method, path), &member(groups).await).await;
        assert_forbidden(&stack, &answer, reason, path).await;
    }
    for (method, path, groups) in [
        ("GET", "/files/1", &["editors", "guests"][..]),
        ("POST", "/elsewhere", &["insiders", "guests"]),
        ("POST", "/orders/1/lines/secret", &["buyers"]),
        ("GET", "/elsewhere", &["insiders", "contractors"]),
    ] {
        let answer = ask(&stack, Request::new(method, path), &member(groups).await).await;
        assert_eq!(answer.status, 200, "{method} {path} {groups:?}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_pattern_is_met_by_whole_paths_alone() {
    let stack = stack().await;
    for (path, allowed) in [
        ("/orders/1/lines", true),
        ("/orders/1/lines/", true),
        ("/orders/1/lines/2/3", true),
        ("/orders/1/lines?x=/orders/1", true),
        ("/orders//lines", false),
        ("/orders/1", false),
        ("/orders/1/2/lines", false),
        ("/orders/1/linesX", false),
        ("/x/orders/1/lines", false),
        ("/invoices/1/lines", false),
        ("/orders/1/lines/../../../invoices/1", false),
        ("/invoices/1/../../orders/1/lines/2", true),
        ("/Orders/1/lines", false),
        ("/", false),
    ] {
        let answer = ask(&stack, Request::get(path), &member(&["buyers"]).await).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{path}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_routes_own_list_stands_in_the_place_of_the_policies() {
    let stack = stack().await;
    for (groups, path, allowed) in [
        (&["admins"][..], "/admin/x", true),
        (&["insiders"], "/admin/x", false),
        (&["admins"], "/elsewhere", false),
        (&["insiders"], "/elsewhere", true),
        (&[], "/elsewhere", false),
    ] {
        let answer = ask(&stack, Request::get(path), &member(groups).await).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{groups:?} {path}: {}", answer.text());
    }
}

#[tokio::test]
async fn all_conditions_of_one_entry_must_hold_and_one_entry_is_enough() {
    let stack = stack().await;
    let boss = json!({"groups": ["staff"], "email": "Boss@Example.com", "email_verified": true});
    let changed = |name: &str, value: Value| {
        let mut claims = boss.clone();
        claims[name] = value;
        claims
    };
    for (claims, allowed) in [
        (boss.clone(), true),
        (changed("groups", json!([])), false),
        (changed("email", json!("boss@example.org")), false),
        (changed("email_verified", json!(false)), false),
        (json!({"sub": "root"}), true),
        (json!({"sub": "Root"}), false),
    ] {
        let answer = ask(&stack, Request::get("/both"), &token(claims.clone()).await).await;
        assert_eq!(answer.status, if allowed { 200 } else { 403 }, "{claims}: {}", answer.text());
    }
}

#[tokio::test]
async fn a_token_needs_all_scopes_and_its_bearer_is_told_that_it_is_scopes() {
    let stack = stack().await;
    for (claims, allowed) in [
        (json!({"scope": "x.write x.read openid"}), true),
        (json!({"scp": ["x.read", "x.write"]}), true),
        (json!({"scope": "x.read"}), false),
        (json!({"scope": "x.readx.write"}), false),
        (json!({"scope": "x.read,x.write"}), false),
        (json!({"scope": "X.READ X.WRITE"}), false),
        (json!({}), false),
    ] {
        let answer = ask(&stack, Request::get("/scoped"), &token(claims.clone()).await).await;
        if allowed {
            assert_eq!(answer.status, 200, "{claims}: {}", answer.text());
            continue;
        }
        assert_forbidden(&stack, &answer, "missing_scope", &claims.to_string()).await;
        let challenge = answer.headers.text("www-authenticate");
        let wanted = r#"Bearer realm="lockgate", error="insufficient_scope""#;
        assert_eq!(challenge.as_deref(), Some(wanted), "{claims}");
    }
}

#[tokio::test]
async fn methods_choose_the_rule() {
    let stack = stack().await;
    let poster = member(&["posters"]).await;
    let insider = member(&["insiders"]).await;
    for (method, anonymous, by_poster, by_insider) in [
        ("GET", 200, 200, 200),
        ("HEAD", 200, 200, 200),
        ("POST", 401, 200, 403),
        // No route is for it, so the policies hold.
        ("PUT", 401, 403, 200),
        ("DELETE", 401, 403, 200),
        ("OPTIONS", 401, 403, 200),
        // No method at all: the proxy's parser refuses it.
        ("post", 400, 400, 400),
    ] {
        let request = || Request::new(method, "/method");
        assert_eq!(stack.client().send(&request()).await.status, anonymous, "{method}");
        assert_eq!(ask(&stack, request(), &poster).await.status, by_poster, "{method}");
        assert_eq!(ask(&stack, request(), &insider).await.status, by_insider, "{method}");
    }
}

#[tokio::test]
async fn hosts_choose_the_rule_whatever_their_case_and_port() {
    let stack = stack().await;
    let staff = member(&["staff"]).await;
    let insider = member(&["insiders"]).await;
    for host in ["intranet.example.com", "INTRANET.example.COM", "intranet.example.com:8443"] {
        let request = || Request::get("/hosts").header("host", host);
        assert_eq!(ask(&stack, request(), &staff).await.status, 200, "{host}");
        assert_eq!(ask(&stack, request(), &insider).await.status, 403, "{host}");
        assert_eq!(stack.client().send(&request()).await.status, 401, "{host}");
    }
    for host in ["www.example.com", "intranet.example.com.evil.org", "xintranet.example.com", "example.com"] {
        let request = || Request::get("/hosts").header("host", host);
        assert_eq!(ask(&stack, request(), &staff).await.status, 403, "{host}");
        assert_eq!(ask(&stack, request(), &insider).await.status, 200, "{host}");
    }
    for (host, status) in [
        ("www.example.com", 200),
        ("WWW.example.com:80", 200),
        ("www.example.com.evil.org", 401),
        ("intranet.example.com", 401),
        ("www.example.com@evil.org", 401),
        ("", 401),
    ] {
        let answer = stack.client().send(&Request::get("/page").header("host", host)).await;
        assert!(
            answer.status == status || (status == 401 && answer.status == 400),
            "{host}: {}",
            answer.status
        );
    }
    // No other header says which host is meant.
    for name in ["x-forwarded-host", "forwarded", "x-original-host", "x-host"] {
        let request = Request::get("/page").header(name, "www.example.com");
        assert_eq!(stack.client().send(&request).await.status, 401, "{name}");
    }
}

#[tokio::test]
async fn an_anonymous_route_is_open_and_nothing_that_is_written_like_it() {
    let stack = stack().await;
    for path in ["/anonymous", "/anonymous/", "/anonymous/x/y", "/anonymous?x=/admin", "/x/../anonymous/z"] {
        assert_eq!(stack.client().send(&Request::get(path)).await.status, 200, "{path}");
    }
    for (number, path) in [
        "/anonymousXYZ",
        "/anonymous.",
        "/anonymous;x",
        "/Anonymous",
        "/anonymous/../x",
        "/anonymous/..;/x",
        "/anonymous/..;a=b/x",
        "/anonymous/%2e%2e/x",
        "/anonymous/%2E%2e/x",
        "/anonymous/.%2e/x",
        "/anonymous/..%2fx",
        "/anonymous%2f..%2fx",
        "/anonymous/..%5cx",
        "/anonymous\\..\\x",
        "/anonymous//../../x",
        "/x/../anonymous/../x",
        "/x?/anonymous",
        "/%61dmin",
        "//admin",
        "/x/..//admin",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("like-anonymous-{number}-");
        let request = Request::get(path).header("x-marker", &marker);
        let answer = stack.client().send(&request).await;
        assert!(matches!(answer.status, 400 | 401 | 404), "{path}: {}", answer.status);
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn whoever_is_not_allowed_is_told_so_and_not_sent_to_sign_in_again() {
    let stack = stack().await;
    let token = member(&["others"]).await;
    let answer = ask(&stack, Request::get("/files/told"), &token).await;
    assert_forbidden(&stack, &answer, "not_allowed", "a program").await;
    assert_eq!(answer.text(), "You are signed in, but you may not do this.\n");
    assert!(!answer.headers.contains("www-authenticate") && !answer.headers.contains("location"));
    assert_eq!(answer.headers.text("cache-control").as_deref(), Some("no-store"));
}
