//! Attacks on path and route matching at the door: however a path, a method or an origin is written,
//! the rule for what it resolves to is the rule that holds.

use lockgate_e2e::door::public_url;
use lockgate_e2e::guarded_routes::{
    AUDIENCE, OTHER_ORIGIN, guarded_stack, navigation, signed_in, traps, with_cookies, with_token,
};
use lockgate_e2e::h2_frames::{self, Heard};
use lockgate_e2e::hostile_provider::{Endpoint, HostileProvider};
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Client, Request, Response, Shared, Stack, h2c};
use serde_json::json;
use tokio::sync::OnceCell;

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

/// A path as the laxest of servers would resolve it: parameters of segments dropped, escapes decoded
/// once, backslashes taken for slashes, repeated slashes merged, dots followed.
fn resolved(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let plain = |segment: &str| segment.split(';').next().unwrap_or_default().to_owned();
    let path = path.split('/').map(plain).collect::<Vec<_>>().join("/");
    let mut bytes = Vec::new();
    let mut rest = path.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let hex = after.get(..2).and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        let escaped = hex.filter(|_| byte == b'%');
        bytes.push(escaped.unwrap_or(byte));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    let decoded = String::from_utf8_lossy(&bytes).replace('\\', "/");
    let mut segments: Vec<&str> = Vec::new();
    for segment in decoded.split('/') {
        match segment {
            "" | "." => {}
            ".." => drop(segments.pop()),
            segment => segments.push(segment),
        }
    }
    format!("/{}", segments.join("/"))
}

fn within(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// Spellings of a path that some server resolves to another.
const DISGUISES: [&str; 71] = [
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x=/public",
    "/admin?/public/",
    "/admin#/public",
    "/admin/x#?/public",
    "//admin",
    "///admin/x",
    "/./admin",
    "/%2e/admin",
    "/x/../admin",
    "/public/../admin",
    "/public/./../admin",
    "/public/x/../../admin",
    "/public//../../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/%2e./admin",
    "/public/..;/admin",
    "/public/..;x=y/admin",
    "/public/.;/../admin",
    "/public/..%3b/admin",
    "/public/%2e%2e;/admin",
    "/public/%2e%2e%3B/admin",
    "/public;/../admin",
    "/public;x=/../admin",
    "/public%2f..%2fadmin",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public/..%5cadmin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/%252e%252e/admin",
    "/public/..%252fadmin",
    "/public/..%00/admin",
    "/public/..%01/admin",
    "/public/%2e%2e%2fadmin",
    "/public/%c0%ae%c0%ae/admin",
    "/public/%u002e%u002e/admin",
    "/public/..../admin",
    "/public/.../admin",
    "/public/.. /admin",
    "/public/..%20/admin",
    "/public%2fadmin",
    "/public%5cadmin",
    "/public%00/admin",
    "/public./admin",
    "/publicX",
    "/publicX/../admin",
    "/public-/admin",
    "/%61dmin",
    "/%61%64%6d%69%6e/x",
    "/%2561dmin",
    "/.;/admin",
    "/admin%3bx",
    "/admin%2fx",
    "/admin%2f..%2fpublic",
    "/admin\\x",
    "\\admin",
    "/_lockgate/../admin",
    "/_lockgate/%2e%2e/admin",
    "/_lockgate/..;/admin",
    "/_lockgate/callback/../../admin",
    "/_lockgate//../admin",
    "/health/../admin",
    "/_lockgate/health/../../admin",
    "/wal/../admin",
    "/wal-playback/../admin",
    "/zapier/%2e%2e/admin",
];

/// Disguises, the same in absolute form, and targets that are no paths.
fn targets(stack: &Stack) -> Vec<String> {
    let host = stack.client().address();
    let absolute = DISGUISES.iter().map(|path| format!("http://{host}{path}"));
    let odd = [
        "http://evil.example/admin",
        "http://evil.example/public/../admin",
        "http://evil.example",
        "http://evil.example?/public",
        "http:///admin",
        "https://x/admin",
        "ftp://x/public/../admin",
        "//evil.example/admin",
        "*",
        "admin",
        "public/../admin",
        "?/public",
        "",
        "/public/../../../etc/passwd",
        "/\u{ff}/../admin",
        "/public/\t/admin",
        "/public /../admin",
    ];
    let plain = DISGUISES.iter().chain(&odd).map(|target| (*target).to_owned());
    plain.chain(absolute).collect()
}

const METHODS: [&str; 10] =
    ["GET", "POST", "HEAD", "OPTIONS", "get", "Post", "PROPFIND", "TRACE", "PUT", "MKCOL"];

#[tokio::test]
async fn without_a_sign_in_no_spelling_of_a_path_leads_anywhere_but_to_what_is_open() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let mut wrong = Vec::new();
    for (number, target) in targets(&stack).into_iter().enumerate() {
        for method in METHODS {
            let marker = format!("nobody-{number}-{method}-");
            let header = format!("x-marker: {marker}\r\n");
            let answer = raw(stack.client(), method, target.as_bytes(), &header).await;
            for reached in stack.upstream().requests().matching(|request| request.contains(&marker)) {
                let open = within(&resolved(&reached.target), "/public") && within(reached.path(), "/public");
                if !open {
                    wrong.push(format!("{method} {target} became {}", reached.target));
                }
            }
            if !stack.stored(&marker).is_empty() {
                wrong.push(format!("{method} {target} was stored"));
            }
            if let Some(answer) = answer.filter(|answer| answer.status >= 500 && answer.status != 501) {
                wrong.push(format!("{method} {target}: {} {}", answer.status, answer.text()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(traps(&stack, since), [""; 0]);
}

#[tokio::test]
async fn whoever_may_not_see_the_admins_pages_reaches_them_by_no_spelling() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let since = stack.gateway_log().len();
    let cookies = with_cookies(&stack, &agent, Request::get("/")).headers.text("cookie").unwrap();
    let token = staff_token();
    let mut wrong = Vec::new();
    for (number, target) in targets(&stack).into_iter().enumerate() {
        for (kind, credential) in [
            ("cookie", format!("cookie: {cookies}\r\n")),
            ("token", format!("authorization: Bearer {token}\r\n")),
        ] {
            for method in ["GET", "POST", "OPTIONS", "get"] {
                let marker = format!("staff-{kind}-{number}-{method}-");
                let headers = format!("x-marker: {marker}\r\n{credential}");
                let answer = raw(stack.client(), method, target.as_bytes(), &headers).await;
                for reached in stack.upstream().requests().matching(|request| request.contains(&marker)) {
                    if within(&resolved(&reached.target), "/admin") {
                        wrong.push(format!("{method} {target} became {} by {kind}", reached.target));
                    }
                }
                if let Some(answer) = answer.filter(|answer| answer.status >= 500 && answer.status != 501) {
                    wrong.push(format!("{method} {target} by {kind}: {} {}", answer.status, answer.text()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert_eq!(traps(&stack, since), [""; 0]);
}

/// Servers of the Servlet kind drop what stands behind a semicolon, and then look at the path.
#[tokio::test]
async fn a_parameter_of_a_segment_hides_no_path_from_its_rule() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let mut wrong = Vec::new();
    for (number, (method, target)) in [
        ("GET", "/admin;"),
        ("GET", "/admin;x=y"),
        ("GET", "/admin;x=y/z"),
        ("GET", "/;x/admin"),
        ("GET", "/admin;/x"),
        ("GET", "/public;/../admin;x"),
        ("POST", "/reports;x=y"),
        ("POST", "/reports;/x"),
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("parameter-{number}-");
        let request = Request::new(method, target).header("x-marker", &marker);
        for request in [with_cookies(&stack, &agent, request.clone()), with_token(request, &staff_token())] {
            stack.client().send(&request).await;
        }
        for reached in stack.upstream().requests().matching(|request| request.contains(&marker)) {
            wrong.push(format!("{method} {target} became {}", reached.target));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[tokio::test]
async fn over_http2_no_spelling_leads_anywhere_else_either() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let address = stack.client().address();
    let authority = address.to_string();
    let cookies = with_cookies(&stack, &staff(&stack).await, Request::get("/"));
    let cookies = cookies.headers.text("cookie").unwrap();
    let odd =
        ["*", "", "admin", "public/../admin", "/public\u{0}/../admin", "/public\r\nx: y", "http://x/admin"];
    let mut asked = Vec::new();
    for (number, target) in DISGUISES.iter().chain(&odd).enumerate() {
        for (method, cookie) in
            [("GET", ""), ("get", ""), ("OPTIONS", ""), ("GET", &*cookies), ("get", &cookies)]
        {
            let marker = format!("h2-{number}-{method}-{}-", cookie.is_empty());
            let fields = [
                (":method", method),
                (":scheme", "http"),
                (":authority", &*authority),
                (":path", *target),
                ("x-marker", &*marker),
                ("cookie", cookie),
            ];
            let fields = fields.map(|(name, value)| (name.to_owned(), value.to_owned()));
            // Envoy keeps a connection that broke the protocol open for a second.
            let heard = tokio::spawn(async move {
                let fields: Vec<_> = fields.iter().map(|(n, v)| (n.as_bytes(), v.as_bytes())).collect();
                h2_frames::send(address, &fields).await
            });
            asked.push((format!("{method} {target}"), cookie.is_empty(), marker, heard));
        }
    }
    let mut wrong = Vec::new();
    for (what, nobody, marker, heard) in asked {
        let heard = heard.await.unwrap();
        for reached in stack.upstream().requests().matching(|request| request.contains(&marker)) {
            let path = resolved(&reached.target);
            let open = within(&path, "/public") && within(reached.path(), "/public");
            if (nobody && !open) || within(&path, "/admin") {
                wrong.push(format!("{what} became {}", reached.target));
            }
        }
        if matches!(heard, Heard::Status(500 | 502..)) {
            wrong.push(format!("{what}: {heard:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    let open = h2c::send(address, &Request::get("/public/alive")).await.unwrap();
    assert_eq!(open.status, 200, "the door serves on");
    assert_eq!(traps(&stack, since), [""; 0]);
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
async fn control_characters_in_a_path_are_refused() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let known = with_cookies(&stack, &agent, Request::get("/"));
    let cookie = format!("cookie: {}\r\n", known.headers.text("cookie").unwrap());
    for byte in (0..0x20).chain([0x7f, 0x80, 0xff]) {
        for place in ["/rest/a", "/public/a", "/_lockgate/userinfo"] {
            let target = [place.as_bytes(), &[byte], b"-x"].concat();
            let marker = format!("control-byte-{byte}-");
            let answer =
                raw(stack.client(), "GET", &target, &format!("x-marker: {marker}\r\n{cookie}")).await;
            let passed = stack.upstream().requests().matching(|request| request.contains(&marker));
            assert!(passed.is_empty(), "byte {byte:#x}: {passed:?}");
            assert!(answer.is_none_or(|answer| answer.status >= 400), "byte {byte:#x}");
        }
    }
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
