//! What of a browser's cookies reaches the upstream: all that are not the door's, as they came.

use std::time::Duration;

use lockgate_e2e::slack;
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Answer, Request, h2c};

use crate::{door, header, person, session_of};

/// Other people's cookies, however odd: each as it is to arrive, alone and around the door's.
const OTHERS: [&[u8]; 13] = [
    b"theme=dark",
    b"a=1; b=2",
    b"a=1;b=2",
    b"a=\"x; y\"",
    b"token=eyJhbGciOiJIUzI1NiJ9.e30.x==",
    b"empty=; novalue; =noname",
    b"a=1; a=1; a=2",
    b"odd=\xff\xfe\x80",
    b"name with spaces=v",
    b"lockgates=1; xlockgate=2; Lockgate=3; lockgate-logins=4; lockgate_login=5; lockgate.x=6; lockgate.=7; lockgate-login=8; lockgate-login-abcde=9; lockgate-login-abcdefg=10; lockgate-login-abc.ef=11",
    b"__Host-lockgate=1; __Secure-lockgate=2; __Host-lockgate-login=3",
    b"$Version=1; $Path=/",
    b"a=lockgate=b; c=lockgate-login",
];

/// The values of the `Cookie` headers of one request.
type Cookies = Vec<Vec<u8>>;

/// What the upstream must get, what the browser sends, for every place the door's cookies can have.
fn cases(session: &str) -> Vec<(Cookies, Cookies)> {
    let ours =
        format!("{session}; lockgate-login-AAAAAA=AAAAAAAAAAAAAAAAAAAAAA; lockgate.17=stale; lockgate.0=x");
    let ours = ours.as_bytes();
    let mut cases = Vec::new();
    for other in OTHERS {
        let other = other.to_vec();
        cases.push((vec![other.clone()], vec![[ours, b"; ", &other[..]].concat()]));
        cases.push((vec![other.clone()], vec![[&other[..], b"; ", ours].concat()]));
        let around = [&other[..], b"; ", &other].concat();
        cases.push((vec![around], vec![[&other[..], b"; ", ours, b"; ", &other].concat()]));
        cases.push((vec![other.clone()], vec![ours.to_vec(), other.clone()]));
        cases.push((vec![other.clone()], vec![other.clone(), ours.to_vec()]));
    }
    cases.push((vec![], vec![ours.to_vec()]));
    cases.push((vec![], vec![[ours, b";"].concat()]));
    cases.push((vec![], vec![ours.to_vec(), b"lockgate.5=y".to_vec()]));
    cases
}

/// One header out of several: Envoy may join them, which says the same (RFC 9110, section 5.2, but
/// with the separator that cookies have).
fn joined(headers: &[&[u8]]) -> Vec<u8> {
    headers.join(&b"; "[..])
}

/// Sends every case to a path and compares what arrives. `lockgate` stands in no way in any of it.
async fn assert_others_alone_arrive(path: &str) {
    let door = door().await;
    let mut admin = person("alice", 0);
    admin["groups"] = serde_json::json!(["admins"]);
    let session = header(&session_of(&door, admin).await);
    door.keep_secret(session.split_once("=1.").unwrap().1);
    let mut wrong = Vec::new();
    for (number, (expected, sent)) in cases(&session).into_iter().enumerate() {
        let target = format!("{path}/cookies-{number}-");
        let request =
            sent.iter().fold(Request::get(&target), |request, value| request.header("cookie", value));
        assert_eq!(door.stack.client().send(&request).await.status, 200, "{target}");
        let arrived = door.stack.delivered(&target).await;
        let arrived = joined(&arrived.headers.all("cookie"));
        let expected = joined(&expected.iter().map(Vec::as_slice).collect::<Vec<_>>());
        if arrived != expected {
            let sent = joined(&sent.iter().map(Vec::as_slice).collect::<Vec<_>>());
            wrong.push(format!("{} → {}", sent.escape_ascii(), arrived.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{} on {path}: {:#?}", wrong.len(), &wrong[..2.min(wrong.len())]);
    // Over HTTP/2, where a header of cookies comes in pieces.
    let pieces = ["a=1", &session, "b=2", "lockgate-login-AAAAAA=AAAAAAAAAAAAAAAAAAAAAA", "c=3"];
    let target = format!("{path}/cookies-over-h2-");
    let request = pieces.iter().fold(Request::get(&target), |request, value| request.header("cookie", value));
    assert_eq!(h2c::send(door.stack.client().address(), &request).await.unwrap().status, 200);
    let arrived = door.stack.delivered(&target).await;
    assert_eq!(joined(&arrived.headers.all("cookie")).as_slice(), b"a=1; b=2; c=3");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn on_a_protected_path_only_others_cookies_arrive_byte_for_byte() {
    assert_others_alone_arrive("/protected").await;
}

#[tokio::test]
async fn on_a_path_for_some_only_others_cookies_arrive_byte_for_byte() {
    assert_others_alone_arrive("/admin").await;
}

#[tokio::test]
async fn on_a_public_path_only_others_cookies_arrive_byte_for_byte() {
    assert_others_alone_arrive("/public").await;
}

#[tokio::test]
async fn on_a_path_of_another_guard_no_cookie_of_the_door_arrives() {
    let door = door().await;
    let session = header(&session_of(&door, person("alice", 0)).await);
    let request = slack::signed(slack::command("/slack/command", "cookies-for-slack"), SLACK_SECRET);
    let request = request.header("cookie", format!("a=1; {session}; b=2")).header("cookie", "c=3");
    assert_eq!(door.stack.client().send(&request).await.status, 200);
    // The door is not asked there, and Slack sends no cookies: none arrives.
    let arrived = door.stack.delivered("cookies-for-slack").await;
    assert_eq!(arrived.headers.all("cookie"), [b""; 0]);
    door.assert_unharmed().await;
}

/// Opens a WebSocket with these cookies and returns what the upstream saw of them.
async fn upgraded(path: &str, expected: u16) -> Option<String> {
    let door = door().await;
    let session = header(&session_of(&door, person("alice", 0)).await);
    door.stack.upstream().program(|request| {
        let head = b"HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\n\r\n";
        request.headers.contains("upgrade").then(|| Answer::Raw(head.to_vec()))
    });
    let upgrade = |target: &str, cookies: &str| {
        Request::get(target)
            .header("connection", "Upgrade")
            .header("upgrade", "websocket")
            .header("sec-websocket-version", "13")
            .header("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")
            .header("origin", "http://127.0.0.1")
            .header("sec-fetch-mode", "websocket")
            .header("cookie", cookies)
    };
    let target = format!("{path}/upgraded");
    let client = door.stack.client();
    let answer = client.send(&upgrade(&target, &format!("a=1; {session}; b=2"))).await;
    assert_eq!(answer.status, 101, "{}", answer.text());
    let arrived = door.stack.delivered(&target).await;
    assert!(arrived.headers.contains("sec-websocket-key"), "an upgrade arrived: {:?}", arrived.headers);
    let answer = client.send(&upgrade(&format!("{path}/not-signed-in"), "a=1; lockgate=x")).await;
    assert_eq!(answer.status, expected, "{}", answer.text());
    assert!(!answer.headers.contains("set-cookie") && !answer.headers.contains("location"));
    door.assert_unharmed().await;
    arrived.headers.text("cookie")
}

#[tokio::test]
async fn a_websocket_is_opened_with_others_cookies_alone() {
    assert_eq!(upgraded("/socket", 401).await.as_deref(), Some("a=1; b=2"));
}

#[tokio::test]
async fn a_public_websocket_is_opened_with_others_cookies_alone() {
    assert_eq!(upgraded("/public/socket", 101).await.as_deref(), Some("a=1; b=2"));
}

#[tokio::test]
async fn nothing_of_a_request_without_a_session_reaches_the_upstream() {
    let door = door().await;
    let session = header(&session_of(&door, person("alice", 0)).await);
    let broken = format!("{session}A");
    let mut body = Request::post("/refused-body", "text/plain", vec![b'x'; 500_000]);
    body = body.header("cookie", &broken);
    assert_eq!(door.stack.client().send(&body).await.status, 401);
    assert_eq!(door.stack.client().send_chunked(&body, 10_000).await.status, 401);
    // One that comes piece by piece is answered before its end.
    let mut connection = door.stack.client().connect().await;
    let bytes = body.header("host", "127.0.0.1").to_bytes();
    connection.write(&bytes[..2_000]).await;
    let answer = tokio::time::timeout(Duration::from_secs(5), connection.read("POST")).await;
    assert_eq!(answer.unwrap().unwrap().status, 401);
    door.stack.assert_no_trace("/refused-body");
    door.assert_unharmed().await;
}
