//! Spellings of a path that some server resolves to another.

use lockgate_e2e::guarded_routes::{traps, with_cookies, with_token};
use lockgate_e2e::h2_frames::Heard;
use lockgate_e2e::{Request, Stack, h2_frames, h2c};

use crate::{raw, stack, staff, staff_token};

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
