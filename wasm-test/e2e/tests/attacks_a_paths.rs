//! Attacks on path and route matching: however a path is written, the rule for what it resolves to
//! is the rule that holds.

use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Request, Response, Shared, Stack, slack};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

/// A request line as it is, which no client library would send.
async fn raw(stack: &Stack, method: &str, target: &[u8], marker: &str) -> Option<Response> {
    let head = format!(" HTTP/1.1\r\nhost: {}\r\nx-marker: {marker}\r\n\r\n", stack.client().address());
    let bytes = [method.as_bytes(), b" ", target, head.as_bytes()].concat();
    stack.client().exchange(&bytes, method).await.ok()
}

/// Spellings of a path that some server resolves to another.
const DISGUISES: [&str; 34] = [
    "/admin",
    "/admin/",
    "/admin/x",
    "/admin?x=/public",
    "/admin?/public/",
    "/admin#/public",
    "/ADMIN",
    "/Admin/x",
    "//admin",
    "///admin/x",
    "/./admin",
    "/public/../admin",
    "/public/./../admin",
    "/public/x/../../admin",
    "/public//../../admin",
    "/public/%2e%2e/admin",
    "/public/%2E%2E/admin",
    "/public/.%2e/admin",
    "/public/..;/admin",
    "/public/..;x=y/admin",
    "/public/.;/../admin",
    "/public/..%3b/admin",
    "/public/%2e%2e;/admin",
    "/public%2f..%2fadmin",
    "/public/..%2fadmin",
    "/public/..%2Fadmin",
    "/public/..%5cadmin",
    "/public/..\\admin",
    "/public\\..\\admin",
    "/public/%252e%252e/admin",
    "/public/..%00/admin",
    "/public/%2e%2e%2fadmin",
    "/publicX",
    "/publicX/../admin",
];

#[tokio::test]
async fn a_disguised_path_never_reaches_a_handler_that_its_rule_would_not_allow() {
    let stack = stack().await;
    let host = stack.client().address().to_string();
    let absolute = DISGUISES.iter().map(|path| format!("http://{host}{path}"));
    let elsewhere = ["http://evil.example/admin", "http://evil.example/public/../admin", "https://x/admin"];
    let odd = [
        "*",
        "admin",
        "public/../admin",
        "/public/../../../etc/passwd",
        "",
        "/\u{ff}/../admin",
        "/public/\t/admin",
    ];
    let targets =
        DISGUISES.iter().chain(&elsewhere).chain(&odd).map(|path| (*path).to_owned()).chain(absolute);
    for (number, target) in targets.enumerate() {
        for method in ["GET", "POST", "HEAD", "OPTIONS", "get"] {
            let marker = format!("disguise-{number}-{method}-");
            let answer = raw(&stack, method, target.as_bytes(), &marker).await;
            for reached in stack.upstream().requests().matching(|request| request.contains(&marker)) {
                let path = reached.path();
                // As the laxest of servers would resolve it.
                let resolved =
                    path.to_ascii_lowercase().replace("%2e", ".").replace("%2f", "/").replace('\\', "/");
                let dots = resolved.split('/').any(|part| part.split(';').next() == Some(".."));
                assert!(path.starts_with("/public/") && !dots, "{method} {target} became {path}");
            }
            assert_eq!(stack.stored(&marker).len(), 0, "{method} {target} was stored");
            if let Some(answer) = answer {
                assert!(answer.status != 500, "{method} {target}: {}", answer.text());
            }
        }
    }
}

#[tokio::test]
async fn control_characters_in_a_path_are_refused() {
    let stack = stack().await;
    for byte in (0..0x20).chain([0x7f, 0x80, 0xff]) {
        let target = [b"/public/control-", &[byte][..], b"-x"].concat();
        let marker = format!("control-byte-{byte}-");
        let answer = raw(&stack, "GET", &target, &marker).await;
        let passed = stack.upstream().requests().matching(|request| request.contains(&marker));
        assert!(passed.is_empty(), "byte {byte:#x}: {passed:?}");
        assert!(answer.is_none_or(|answer| answer.status >= 400), "byte {byte:#x}");
    }
}

#[tokio::test]
async fn a_prefix_matches_whole_segments_and_a_path_exactly() {
    let stack = stack().await;
    for (target, allowed) in [
        ("/public", true),
        ("/public/", true),
        ("/public/x?y=/admin", true),
        ("/publicx", false),
        ("/public.", false),
        ("/public;x", false),
        ("/PUBLIC/x", false),
        ("/formx", false),
        ("/", false),
        ("/_lockgate", false),
        ("/_lockgate/readyx", false),
        ("/_lockgate/ready/x", false),
        ("/_lockgate/READY", false),
        ("/_lockgate/health/x", false),
        ("/_lockgate/HEALTH", false),
        ("/healthz", false),
        ("/health/", false),
        ("/.well-known/x", false),
    ] {
        let answer = stack.client().send(&Request::get(target)).await;
        let expected = if allowed { 200 } else { 403 };
        assert!(
            answer.status == expected || (!allowed && answer.status == 503),
            "{target}: {}",
            answer.status
        );
    }
    for path in ["/health", "/_lockgate/health", "/health?x=/admin"] {
        let answer = stack.client().send(&Request::get(path)).await;
        assert_eq!((answer.status, answer.body.len()), (204, 0), "{path}");
    }
    let health = stack.upstream().requests().matching(|request| request.target.contains("health"));
    assert!(health.is_empty(), "{health:?}");
}

#[tokio::test]
async fn a_path_that_is_nearly_slacks_is_not_slacks() {
    let stack = stack().await;
    for (number, target) in [
        "/slack/command/",
        "/slack/command/x",
        "/slack/commandx",
        "/SLACK/command",
        "/slack/Command",
        "/slack",
        "/slack/",
        "/slack/..",
        "/slack/command;x",
        "/slack/command%20",
        "/slack%2fcommand",
        "/slack/command%00",
        "/public/../slack/commandx",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("nearly-slacks-{number}-");
        let request = slack::signed(slack::command(target, &marker), SLACK_SECRET);
        let answer = stack.client().send(&request).await;
        assert!(answer.status >= 400, "{target}: {}", answer.status);
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn a_disguised_slack_path_is_guarded_like_the_plain_one() {
    let stack = stack().await;
    for (number, target) in [
        "//slack/command",
        "/public/../slack/command",
        "/slack//command",
        "/slack/./command",
        "/%73lack/command",
    ]
    .into_iter()
    .enumerate()
    {
        let marker = format!("disguised-slack-{number}-");
        let unsigned = slack::command(target, &marker);
        let answer = stack.client().send(&unsigned).await;
        assert!(answer.status >= 400, "{target}: {}", answer.status);
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn a_disguised_wal_path_stores_what_it_resolves_to() {
    let stack = stack().await;
    for (number, target) in
        ["/wal/a/../b", "/wal//b", "/wal/./b", "/wal/../wal/b", "/public/../wal/b"].into_iter().enumerate()
    {
        let marker = format!("disguised-wal-{number}-");
        let request = Request::post(target, "text/plain", marker.as_str());
        assert_eq!(stack.client().send(&request).await.status, 202, "{target}");
        assert_eq!(stack.delivered(&marker).await.target, "/b", "{target}");
    }
    for (number, target) in
        ["/wal/../admin", "/wal/%2e%2e/admin", "/wal/..;/admin", "/wal/..%2fadmin", "/wal/../x"]
            .into_iter()
            .enumerate()
    {
        let marker = format!("escaping-wal-{number}-");
        let request = Request::post(target, "text/plain", marker.as_str());
        let answer = stack.client().send(&request).await;
        assert!(answer.status >= 400, "{target}: {}", answer.status);
        stack.assert_no_trace(&marker);
    }
}

#[tokio::test]
async fn neither_a_method_nor_a_user_agent_buys_anything() {
    let stack = stack().await;
    for agent in [
        "GoogleHC/1.0",
        "kube-probe/1.29",
        "ELB-HealthChecker/2.0",
        "Slackbot 1.0",
        "APIs-Google",
        "Envoy/HC",
    ] {
        for method in ["GET", "HEAD", "OPTIONS", "POST", "TRACE", "PROPFIND"] {
            let marker = format!("agent-{method}-");
            let request = Request::new(method, "/admin/x")
                .header("user-agent", agent)
                .header("x-marker", &marker)
                .header("origin", "https://evil.example")
                .header("access-control-request-method", "GET");
            let answer = stack.client().send(&request).await;
            assert!(answer.status >= 400, "{method} as {agent}: {}", answer.status);
            assert!(!answer.headers.contains("access-control-allow-origin"));
            stack.assert_no_trace(&marker);
        }
    }
}

#[tokio::test]
async fn a_tunnel_is_refused() {
    let stack = stack().await;
    for target in ["127.0.0.1:80", "/public/x", "evil.example:443"] {
        let answer = raw(&stack, "CONNECT", target.as_bytes(), "tunnel").await;
        assert!(answer.is_none_or(|answer| answer.status >= 400), "{target}");
    }
    stack.assert_no_trace("tunnel");
}

#[tokio::test]
async fn the_method_of_an_override_header_is_not_the_method() {
    let stack = stack().await;
    let request = Request::get("/wal-playback")
        .header("x-http-method-override", "POST")
        .header("x-method-override", "POST")
        .header("x-marker", "overridden");
    assert!(stack.client().send(&request).await.status >= 400);
    stack.assert_no_trace("overridden");
}
