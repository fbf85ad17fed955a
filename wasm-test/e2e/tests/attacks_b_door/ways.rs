//! Headers that say where a request comes from, and where it wants to go.

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{guarded_stack, navigation, sign_in, with_cookies, with_token};
use lockgate_e2e::oidc_provider::CLIENT_ID;
use lockgate_e2e::url::Url;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Request, Response};
use serde_json::json;

use crate::{PERSON, made_up, provider, stack, staff, told};

/// Everything by which a client may claim to come another way, for another place, or with another method.
const WAYS: [(&str, &str); 23] = [
    ("x-forwarded-for", "127.0.0.1"),
    ("x-forwarded-host", "evil.example"),
    ("x-forwarded-proto", "https"),
    ("x-forwarded-scheme", "https"),
    ("x-forwarded-port", "444"),
    ("x-forwarded-prefix", "/evil"),
    ("x-forwarded-server", "evil.example"),
    ("x-forwarded-uri", "/public/x"),
    ("x-forwarded-path", "/public/x"),
    ("x-forwarded-user", "root"),
    ("x-forwarded-email", "root@example.com"),
    ("forwarded", "for=127.0.0.1;host=evil.example;proto=https"),
    ("x-real-ip", "127.0.0.1"),
    ("x-client-ip", "127.0.0.1"),
    ("true-client-ip", "127.0.0.1"),
    ("x-original-url", "/public/x"),
    ("x-rewrite-url", "/public/x"),
    ("x-envoy-original-path", "/public/x"),
    ("x-envoy-internal", "true"),
    ("x-host", "evil.example"),
    ("x-original-host", "evil.example"),
    ("x-http-host-override", "evil.example"),
    ("x-http-method-override", "GET"),
];

#[tokio::test]
async fn what_a_client_says_of_its_way_decides_nothing() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (name, value) in WAYS {
        let marker = format!("way-{name}-");
        let get = |target: &str| Request::get(target).header(name, value).header("x-marker", &marker);
        for request in
            [get("/rest/x"), get("/admin/x"), get("/api/x"), get("/wal/x"), get("/_lockgate/userinfo")]
        {
            assert_eq!(stack.client().send(&request).await.status, 401, "{request:?}");
        }
        let answer = stack.client().send(&with_cookies(&stack, &agent, get("/admin/x"))).await;
        assert_eq!(answer.status, 403, "{name}");
        let write = Request { method: "POST".to_owned(), ..get("/reports/x") };
        assert_eq!(stack.client().send(&with_cookies(&stack, &agent, write)).await.status, 403, "{name}");
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn nothing_that_a_client_says_of_its_way_reaches_the_upstream() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for target in ["/public/every-way", "/every-way"] {
        let mut request = with_cookies(&stack, &agent, Request::get(target));
        for (name, value) in WAYS.iter().filter(|(name, _)| name.starts_with("x-forwarded-")) {
            request = request.header(name, value);
        }
        let request = request.header("forwarded", "host=evil.example").header("x-real-ip", "10.9.8.7");
        let request = request.header("x-original-url", "/evil").header("x-rewrite-url", "/evil");
        assert_eq!(stack.client().send(&request).await.status, 200);
        let delivered = stack.delivered(target).await;
        for told in ["evil", "10.9.8.7", "root"] {
            assert!(!delivered.contains(told), "{told} on {target}: {:?}", delivered.headers);
        }
        assert_eq!(delivered.headers.text("x-forwarded-port"), None, "{target}");
        assert_eq!(delivered.headers.text("x-forwarded-proto").as_deref(), Some("http"), "{target}");
    }
}

/// Parts of an answer that lead somewhere: its location, cookies, and links.
fn leads(answer: &Response) -> String {
    let headers = answer.headers.pairs().map(|(name, value)| {
        format!("{}: {}", String::from_utf8_lossy(name), String::from_utf8_lossy(value))
    });
    headers.collect::<Vec<_>>().join("\n") + &answer.text()
}

#[tokio::test]
async fn the_redirect_uri_comes_from_the_configuration_whatever_host_is_named() {
    let stack = stack().await;
    let callback = format!("{}/_lockgate/callback", public_url(&stack));
    for (name, value) in WAYS {
        for target in ["/page", "/_lockgate/sign-in?return_to=/page"] {
            let answer = stack.client().send(&navigation(target).header(name, value)).await;
            let location = Url::parse(&answer.headers.text("location").unwrap());
            assert_eq!(answer.status, 302, "{name} on {target}");
            assert_eq!(location.query("redirect_uri").as_deref(), Some(&*callback), "{name} on {target}");
            assert_eq!(location.query("client_id").as_deref(), Some(CLIENT_ID));
            assert!(!leads(&answer).contains("evil"), "{name} on {target}: {}", leads(&answer));
        }
    }
    let hosts = [
        "evil.example",
        "evil.example:443",
        "127.0.0.1",
        "127.0.0.1:1",
        "localhost",
        "127.0.0.1.evil.example",
        "evil.example@127.0.0.1",
        "x_y",
        "[::1]",
        "evil.example/",
        "evil.example?",
        "evil.example#",
        "evil.example%2f",
        "127.0.0.1:evil",
    ];
    for host in hosts {
        for target in [
            "/page",
            "/admin/page",
            "/_lockgate/sign-in?return_to=/page",
            "/_lockgate/callback?code=x&state=y",
            "/_lockgate/sign-out",
            "/_lockgate/signed-out",
            "/_lockgate/userinfo",
            "/_lockgate/nothing",
        ] {
            let answer = stack.client().send(&navigation(target).header("host", host)).await;
            assert!(!leads(&answer).contains("evil"), "{host} on {target}: {}", leads(&answer));
            if let Some(location) = answer.headers.text("location") {
                let public =
                    location.starts_with(&format!("{}/", public_url(&stack))) || location.starts_with("/_");
                assert!(public, "{host} on {target}: {location}");
                assert!(!answer.headers.contains("set-cookie"), "{host} on {target}");
            }
        }
    }
}

#[tokio::test]
async fn behind_a_trusted_hop_the_redirect_uri_is_still_the_configured_one() {
    let stack = guarded_stack(provider(), |config| config["trusted_hops"] = json!(1)).start().await;
    let callback = format!("{}/_lockgate/callback", public_url(&stack));
    let mut agent = UserAgent::new();
    for (name, value) in WAYS.iter().filter(|(name, _)| name.contains("forwarded")) {
        let answer = stack.client().send(&navigation("/page").header(name, value)).await;
        let location = Url::parse(&answer.headers.text("location").unwrap());
        assert_eq!(location.query("redirect_uri").as_deref(), Some(&*callback), "{name}");
        assert!(!leads(&answer).contains("evil"), "{name}: {}", leads(&answer));
    }
    assert_eq!(sign_in(&stack, &mut agent).await.response.status, 302);
    let request =
        with_cookies(&stack, &agent, Request::get("/behind-a-hop").header("x-forwarded-user", "root"));
    assert_eq!(stack.client().send(&with_forgeries_few(request)).await.status, 200);
    assert_eq!(made_up(&stack.delivered("/behind-a-hop").await, &PERSON), [""; 0]);
}

/// As many forgeries as fit into the default number of headers.
fn with_forgeries_few(mut request: Request) -> Request {
    for name in told() {
        request = request.header(name, "forged").header(name.to_uppercase(), "forged");
    }
    request
}

#[tokio::test]
async fn no_answer_of_the_door_is_kept_by_a_cache() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let known = |request: Request| with_cookies(&stack, &agent, request);
    let mut wrong = Vec::new();
    for request in [
        navigation("/page"),
        navigation("/page").header("host", "evil.example"),
        Request::get("/page"),
        with_token(Request::get("/page"), "bad"),
        Request::post("/page", "text/plain", "x"),
        known(Request::get("/admin/x")),
        known(navigation("/admin/x")),
        known(Request::post("/reports/x", "text/plain", "x")),
        navigation("/_lockgate/sign-in"),
        navigation("/_lockgate/sign-in?provider=none"),
        navigation("/_lockgate/callback?code=x&state=y"),
        navigation("/_lockgate/callback?state=x&state=y"),
        known(navigation("/_lockgate/sign-out")),
        navigation("/_lockgate/sign-out"),
        Request::post("/_lockgate/sign-out", "text/plain", ""),
        navigation("/_lockgate/signed-out"),
        Request::get("/_lockgate/userinfo"),
        known(Request::get("/_lockgate/userinfo")),
        navigation("/_lockgate/nothing"),
        Request::get("/_lockgate/token"),
    ] {
        let answer = stack.client().send(&request).await;
        let kept = answer.headers.all("cache-control");
        if !(kept.len() == 1 && kept[0].starts_with(b"no-store")) {
            wrong.push(format!("{} {}: {} {kept:?}", request.method, request.target, answer.status));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn an_address_that_leads_away_is_never_where_a_sign_in_leads() {
    let stack = stack().await;
    let origin = public_url(&stack);
    for address in [
        "https://evil.example",
        "//evil.example",
        "///evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "/%2f/evil.example",
        "/\t/evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "evil.example",
        "http:evil.example",
        "/_lockgate/sign-out",
        "/x/..//evil.example",
        "/.//evil.example",
        "/..//evil.example",
        "@evil.example",
        "%2f%2fevil.example",
        "/a\r\nlocation: https://evil.example",
    ] {
        let mut agent = UserAgent::new();
        let start = Url::parse(&format!("{origin}/_lockgate/sign-in")).with_pairs(&[("return_to", address)]);
        let mut stopped = None;
        let page =
            agent.follow_until(&start.to_string(), |url| url.path().starts_with("/_lockgate/callback")).await;
        if let Some(callback) = page.location() {
            stopped = agent.open(&callback.to_string()).await.response.headers.text("location");
        }
        let location = stopped.unwrap_or_else(|| panic!("{address}: no way back: {}", page.response.text()));
        assert_eq!(location, "/", "{address}");
    }
}
