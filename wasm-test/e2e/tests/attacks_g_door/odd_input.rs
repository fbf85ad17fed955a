//! Bytes that are no text, and too many of them.

use lockgate_e2e::Request;
use lockgate_e2e::guarded_routes::{AUDIENCE, navigation, with_cookies};

use crate::{assert_alive, provider, stack, staff};

const ODD_BYTES: [&[u8]; 9] = [
    b"\xff",
    b"\xc3\x28",
    b"\xed\xa0\x80",
    b"a\x80b",
    b"\xf0\x9f\x92",
    b"Bearer \xfe",
    b"\xe2\x80\xae\xef\xbb\xbf",
    b"navigate\xff",
    b"lockgate=\xff\xfe; lockgate-login-abcdef=\xff",
];

#[tokio::test]
async fn bytes_that_are_not_utf8_trap_nothing_in_any_header() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let since = stack.gateway_log().len();
    let names = [
        "authorization",
        "cookie",
        "accept",
        "origin",
        "referer",
        "sec-fetch-mode",
        "sec-fetch-dest",
        "sec-fetch-site",
        "sec-fetch-user",
        "sec-purpose",
        "purpose",
        "x-requested-with",
        "upgrade",
        "connection",
        "host",
        "x-request-id",
        "content-type",
        "content-length",
        "user-agent",
        "x-forwarded-for",
        "x-lockgate-subject",
        "x-user-email",
        "access-control-request-method",
        "traceparent",
        "te",
        "expect",
        "x-odd",
        "proxy-authorization",
    ];
    let targets = [
        "/odd-bytes",
        "/admin/odd-bytes",
        "/api/odd-bytes",
        "/wal/odd-bytes",
        "/zapier/odd-bytes",
        "/_lockgate/userinfo",
        "/_lockgate/sign-in",
        "/_lockgate/sign-out",
        "/_lockgate/callback?code=a&state=b",
    ];
    let mut wrong = Vec::new();
    for name in names {
        for value in ODD_BYTES {
            for target in targets {
                let request = Request::get(target).header(name, value);
                let answer = stack.client().try_send(&request).await;
                // To sign in is for everybody; what is read and is no text is refused.
                let sign_in = target == "/_lockgate/sign-in" || target == "/_lockgate/sign-out";
                match &answer {
                    Ok(answer) if (400..500).contains(&answer.status) || answer.status == 501 => {}
                    Ok(answer) if sign_in && matches!(answer.status, 200 | 302) => {}
                    _ => wrong.push(format!("{name} {} on {target}: {answer:?}", value.escape_ascii())),
                }
            }
            let known = with_cookies(&stack, &agent, Request::get("/odd-known")).header(name, value);
            let answer = stack.client().try_send(&known).await;
            if !answer.as_ref().is_ok_and(|answer| answer.status < 500 || answer.status == 501) {
                wrong.push(format!("{name} {} by staff: {answer:?}", value.escape_ascii()));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    stack.assert_no_trace("odd-bytes");
    assert_alive(&stack, provider(), since).await;
}

#[tokio::test]
async fn random_bytes_in_place_of_what_the_door_reads_trap_nothing() {
    let stack = stack().await;
    let agent = staff(&stack).await;
    let since = stack.gateway_log().len();
    let cookie = with_cookies(&stack, &agent, Request::get("/")).headers.text("cookie").unwrap();
    let begun = stack.client().send(&navigation("/page")).await;
    let state =
        lockgate_e2e::url::Url::parse(&begun.headers.text("location").unwrap()).query("state").unwrap();
    let login = begun.headers.text("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    let token = provider().mint_access_token(AUDIENCE, "x").compact();
    let mut generator = fastrand::Rng::with_seed(20_261_123);
    let mut passed = 0;
    for round in 0..600 {
        let mut bytes = match round % 4 {
            0 => cookie.clone().into_bytes(),
            1 => token.clone().into_bytes(),
            2 => state.clone().into_bytes(),
            _ => (0..generator.usize(1..400)).map(|_| generator.u8(0x21..=0xff)).collect(),
        };
        for _ in 0..generator.usize(0..4) {
            let at = generator.usize(..bytes.len());
            match generator.u8(..4) {
                0 => bytes[at] = generator.u8(0x21..=0xff),
                1 => drop(bytes.remove(at)),
                2 => bytes.insert(at, generator.u8(0x21..=0x7e)),
                _ => bytes.truncate(at.max(1)),
            }
            bytes.push(b'A');
        }
        let encoded = lockgate_e2e::url::encode(&String::from_utf8_lossy(&bytes));
        let request = match round % 4 {
            0 => Request::get("/fuzzed").header("cookie", &bytes),
            1 => Request::get("/fuzzed").header("authorization", [b"Bearer ", &bytes[..]].concat()),
            2 => {
                Request::get(&format!("/_lockgate/callback?code=x&state={encoded}")).header("cookie", &login)
            }
            _ => Request::get(&format!("/_lockgate/sign-in?return_to={encoded}&provider={encoded}"))
                .header("cookie", [b"lockgate=1.", &bytes[..]].concat()),
        };
        let answer = stack.client().send(&request).await;
        assert!(answer.status < 500, "{round}: {} {}", answer.status, answer.text());
        passed += usize::from(answer.status == 200);
    }
    // Some rounds change nothing; most do.
    assert!(passed < 150, "{passed} of 600 passed");
    assert_alive(&stack, provider(), since).await;
}

#[tokio::test]
async fn a_flood_of_headers_and_cookies_is_answered() {
    let stack = stack().await;
    let since = stack.gateway_log().len();
    let cookies = |count: usize, name: &str| {
        let pairs: Vec<String> =
            (0..count).map(|number| format!("{name}{number}=1.{}", "A".repeat(20))).collect();
        pairs.join("; ")
    };
    for (name, request) in [
        ("a thousand cookies", Request::get("/flood").header("cookie", cookies(1_000, "c"))),
        ("a thousand chunks", Request::get("/flood").header("cookie", cookies(1_000, "lockgate."))),
        (
            "a session of nine chunks",
            Request::get("/flood").header("cookie", format!("lockgate=9.A; {}", cookies(9, "lockgate."))),
        ),
        (
            "a session of 50 kB",
            Request::get("/flood").header("cookie", format!("lockgate=1.{}", "A".repeat(50_000))),
        ),
        ("separators", Request::get("/flood").header("cookie", ";=; ".repeat(10_000))),
        ("a return address of 50 kB", navigation(&format!("/{}", "p".repeat(50_000)))),
        ("a query of 50 kB", Request::get(&format!("/_lockgate/callback?{}", "a=b&".repeat(12_000)))),
        (
            "a state of 50 kB",
            Request::get(&format!("/_lockgate/callback?code=x&state={}", "A".repeat(50_000))),
        ),
        ("accepts", Request::get("/flood").header("accept", "text/html;q=0,".repeat(3_000))),
        ("200 headers", (0..200).fold(Request::get("/flood"), |r, n| r.header(format!("x-{n}"), "1"))),
    ] {
        let answer = stack.client().send(&request).await;
        assert!((300..500).contains(&answer.status), "{name}: {} {}", answer.status, answer.text());
    }
    for (name, request) in [
        ("2,000 headers", (0..2_000).fold(Request::get("/flood"), |r, n| r.header(format!("x-{n}"), "1"))),
        ("200 kB", Request::get("/flood").header("cookie", format!("lockgate=1.{}", "A".repeat(200_000)))),
        ("a path of 200 kB", navigation(&format!("/flood/{}", "p".repeat(200_000)))),
    ] {
        let answer = stack.client().try_send(&request).await;
        assert!(
            answer.as_ref().is_ok_and(|answer| (400..500).contains(&answer.status)),
            "{name}: {answer:?}"
        );
    }
    stack.assert_no_trace("/flood");
    assert_alive(&stack, provider(), since).await;
}
