//! Attacks on path and route matching at the door: however a path, a method or an origin is written,

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, guarded_stack, navigation, signed_in, with_cookies, with_token,
};
use lockgate_e2e::h2_frames::Heard;
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Request, Response, Shared, Stack, h2_frames, h2c};
use serde_json::json;
use tokio::sync::OnceCell;

#[path = "attacks_a_door/disguises.rs"]
mod disguises;
#[path = "attacks_a_door/methods.rs"]
mod methods;
#[path = "attacks_a_door/origins.rs"]
mod origins;
#[path = "attacks_a_door/own_paths.rs"]
mod own_paths;

/// The one provider of this file. Whoever signs in is of the group `staff`, and no admin.
fn provider() -> &'static HostileProvider {
    static PROVIDER: std::sync::OnceLock<HostileProvider> = std::sync::OnceLock::new();
    PROVIDER.get_or_init(HostileProvider::start)
}

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, guarded_stack(provider(), |_| {})).await
}

/// One browser of a signed-in person for all tests: its cookies do not change here.
async fn staff(stack: &Stack) -> UserAgent {
    static AGENT: OnceCell<UserAgent> = OnceCell::const_new();
    AGENT.get_or_init(|| signed_in(stack)).await.clone()
}

fn staff_token() -> String {
    let token = provider().mint_access_token(AUDIENCE, "person-1");
    token.claim("groups", json!(["staff"])).compact()
}

/// A request line as it is, which no client library would send.
async fn raw(client: Client, method: &str, target: &[u8], headers: &str) -> Option<Response> {
    let head = format!(" HTTP/1.1\r\nhost: {}\r\n{headers}\r\n", client.address());
    let bytes = [method.as_bytes(), b" ", target, head.as_bytes()].concat();
    client.exchange(&bytes, method).await.ok()
}

#[tokio::test]
async fn pseudo_headers_that_stand_twice_or_in_the_wrong_place_are_refused() {
    let stack = stack().await;
    let address = stack.client().address();
    let authority = address.to_string();
    let field = |name: &'static str, value: &'static str| (name.as_bytes(), value.as_bytes());
    let (get, scheme, host) =
        (field(":method", "GET"), field(":scheme", "http"), (&b":authority"[..], authority.as_bytes()));
    let marked = field("x-marker", "odd-pseudo");
    let open = field(":path", "/public/x");
    let cases = [
        vec![get, scheme, host, open, field(":path", "/admin/x"), marked],
        vec![get, scheme, host, field(":path", "/admin/x"), open, marked],
        vec![get, scheme, host, marked, open],
        vec![get, scheme, host, open, marked, field(":path", "/admin")],
        vec![get, field(":method", "POST"), scheme, host, open, marked],
        vec![get, scheme, host, marked],
        vec![scheme, host, open, marked],
        vec![get, scheme, host, open, marked, field("connection", "upgrade")],
        vec![get, scheme, host, open, marked, field("transfer-encoding", "chunked")],
        vec![get, scheme, host, open, marked, field("X-Lockgate-Subject", "forged")],
        vec![get, scheme, host, open, marked, field("x-a", "b\r\nx-lockgate-subject: forged")],
        vec![get, scheme, host, open, marked, field("x-a\r\nx-lockgate-subject", "forged")],
        vec![get, scheme, host, open, marked, field(":protocol", "websocket")],
        vec![field(":method", "CONNECT"), scheme, host, open, field(":protocol", "websocket"), marked],
        vec![field(":method", "CONNECT"), host, marked],
        vec![get, scheme, host, open, marked, field("", "empty")],
    ];
    let send = |fields: Vec<(&'static [u8], &[u8])>| {
        let fields: Vec<(&[u8], Vec<u8>)> = fields.into_iter().map(|(n, v)| (n, v.to_vec())).collect();
        tokio::spawn(async move {
            let fields: Vec<(&[u8], &[u8])> = fields.iter().map(|(n, v)| (*n, &**v)).collect();
            h2_frames::send(address, &fields).await
        })
    };
    let heard: Vec<_> = cases.into_iter().map(send).collect();
    for (number, heard) in heard.into_iter().enumerate() {
        let heard = heard.await.unwrap();
        assert!(matches!(heard, Heard::Refused | Heard::Status(400..=499)), "case {number}: {heard:?}");
    }
    stack.assert_no_trace("odd-pseudo");
    assert_eq!(h2c::send(address, &Request::get("/public/alive")).await.unwrap().status, 200);
}

#[tokio::test]
async fn a_prefix_matches_whole_segments() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (target, nobody, staff) in [
        ("/public", 200, 200),
        ("/public/", 200, 200),
        ("/public/x?y=/admin", 200, 200),
        ("/publicx", 401, 200),
        ("/public.", 401, 200),
        ("/PUBLIC/x", 401, 200),
        ("/", 401, 200),
        ("/admin", 401, 403),
        ("/admin/", 401, 403),
        ("/admin/x?y=/public", 401, 403),
        ("/adminx", 401, 200),
        ("/reports", 401, 200),
        ("/healthz", 401, 200),
        ("/health/", 401, 200),
        ("/health/x", 401, 200),
        ("/HEALTH", 401, 200),
        ("/health", 204, 204),
        ("/_lockgate/health", 204, 204),
        ("/.well-known/x", 401, 200),
        ("/favicon.ico", 401, 200),
        ("/robots.txt", 401, 200),
    ] {
        let request = Request::get(target);
        assert_eq!(stack.client().send(&request).await.status, nobody, "{target}, nobody");
        let known = with_cookies(&stack, &agent, request.clone());
        assert_eq!(stack.client().send(&known).await.status, staff, "{target}, staff");
        assert_eq!(
            stack.client().send(&with_token(request, &staff_token())).await.status,
            staff,
            "{target}, token"
        );
    }
}

#[tokio::test]
async fn a_request_begins_a_sign_in_only_if_a_browser_is_about_to_show_a_page() {
    let stack = stack().await;
    for (status, request) in [
        (302, navigation("/page")),
        (302, Request::get("/page").header("accept", "text/html")),
        (401, Request::get("/page")),
        (
            401,
            Request::get("/page").header("accept", "text/html").header("x-requested-with", "XMLHttpRequest"),
        ),
        (401, Request { method: "POST".into(), ..navigation("/page") }),
        (401, Request { method: "OPTIONS".into(), ..navigation("/page") }),
        (401, navigation("/page").header("authorization", "Basic eDp5")),
        (401, navigation("/page").header("sec-purpose", "prefetch")),
        (401, navigation("/page").header("purpose", "prefetch")),
        (401, navigation("/page").header("upgrade", "websocket").header("connection", "upgrade")),
        (302, navigation("/admin/page")),
        (401, Request { method: "POST".into(), ..navigation("/wal/x") }),
        (401, Request { method: "POST".into(), ..navigation("/zapier/x") }),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.status, status, "{request:?}: {}", answer.text());
        assert_eq!(answer.headers.contains("set-cookie"), status == 302, "{request:?}");
        assert_eq!(answer.headers.contains("www-authenticate"), status == 401, "{request:?}");
    }
}

#[tokio::test]
async fn a_health_checkers_name_buys_nothing() {
    let stack = stack().await;
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.29",
        "ELB-HealthChecker/2.0",
        "Envoy/HC",
        "Slackbot 1.0",
        "APIs-Google",
        "Google-Cloud-Tasks",
        "AlwaysOn",
        "curl/8",
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "TRACE"] {
            for target in ["/admin/x", "/rest/x", "/api/x", "/wal/x", "/zapier/x", "/wal-playback"] {
                let marker = format!("checker-{method}-");
                let request = Request::new(method, target)
                    .header("user-agent", agent)
                    .header("x-marker", &marker)
                    .header("x-envoy-healthchecked-cluster", "upstream")
                    .header("x-appengine-cron", "true")
                    .header("x-cloudscheduler", "true");
                let answer = stack.client().send(&request).await;
                assert!(
                    matches!(answer.status, 400..=499 | 501),
                    "{method} {target} as {agent}: {}",
                    answer.status
                );
                stack.assert_no_trace(&marker);
            }
        }
    }
}

#[tokio::test]
async fn no_disguise_of_the_playback_or_the_queue_is_open() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    for (number, target) in [
        "/wal-playback",
        "//wal-playback",
        "/wal-playback/",
        "/wal-playback?x",
        "/wal-playback;x",
        "/WAL-PLAYBACK",
        "/public/../wal-playback",
        "/%77al-playback",
        "/wal",
        "/wal/x",
        "//wal/x",
        "/wal/../wal/x",
        "/zapier",
        "/zapier/x",
        "/public/../zapier/x",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("queue-{number}-");
        let request = Request::post(target, "application/json", format!("{{\"x\":\"{marker}\"}}"));
        let answer = stack.client().send(&request).await;
        assert!(matches!(answer.status, 400..=404), "{target}: {}", answer.status);
        stack.assert_no_trace(&marker);
        // A person's session is no push, and what a person stores goes where its path leads.
        let answer = stack.client().send(&with_cookies(&stack, &agent, request)).await;
        if target.contains("wal-playback") && !target.ends_with(['/', 'x', 'K']) {
            assert!(matches!(answer.status, 401 | 403), "{target} by staff: {}", answer.status);
        }
        for message in stack.stored(&marker) {
            let path = message.envelope()["path"].as_str().unwrap_or_default().to_owned();
            assert!(!path.contains("wal") && !path.contains("zapier"), "{target} was stored as {path}");
        }
    }
    for (number, target) in
        ["/wal/../admin", "/wal/%2e%2e/admin", "/wal/..;/admin", "/wal/..%2fadmin", "/wal/../rest"]
            .into_iter()
            .enumerate()
    {
        let marker = format!("out-of-the-queue-{number}-");
        let request = Request::post(target, "text/plain", marker.as_str());
        let answer = stack.client().send(&with_cookies(&stack, &agent, request)).await;
        assert_eq!(stack.stored(&marker).len(), 0, "{target}: {}", answer.status);
    }
}

#[tokio::test]
async fn whoever_may_store_may_not_thereby_reach_the_admins_pages() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let request = Request::post("/wal/admin/by-way-of-the-queue", "text/plain", "x");
    let answer = stack.client().send(&with_cookies(&stack, &agent, request)).await;
    // What is stored is played back to the path behind the prefix. It is the configuration that says
    // who may store; what the upstream gets names who it was, and comes marked.
    assert_eq!(answer.status, 202, "{}", answer.text());
    let delivered = stack.delivered("by-way-of-the-queue").await;
    assert!(
        delivered.headers.text("x-lockgate-principal").unwrap().contains("person-1"),
        "{:?}",
        delivered.headers
    );
}

#[tokio::test]
async fn another_host_is_led_to_the_public_address_and_nowhere_else() {
    let stack = stack().await;
    let provider_calls = provider().count(Endpoint::Authorize);
    for host in ["evil.example", "evil.example:80", "127.0.0.1", "127.0.0.1:1", "LOCALHOST", "[::1]"] {
        let answer = stack.client().send(&navigation("/page?a=1&b=2").header("host", host)).await;
        let location = answer.headers.text("location").unwrap_or_default();
        assert_eq!(answer.status, 302, "{host}: {}", answer.text());
        assert_eq!(location, format!("{}/page?a=1&b=2", public_url(&stack)), "{host}");
        assert!(!answer.headers.contains("set-cookie"), "{host}");
    }
    assert_eq!(provider().count(Endpoint::Authorize), provider_calls);
}
