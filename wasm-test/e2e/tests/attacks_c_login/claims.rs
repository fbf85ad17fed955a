//! Claims that would be something else in a header, in a page, or in a line of a log.

use lockgate_e2e::hostile_provider::Endpoint;
use lockgate_e2e::siege::Turn;
use lockgate_e2e::user_agent::UserAgent;
use serde_json::{Value, json};

use crate::{assert_no_login, door};

/// Text that breaks out of wherever it is put without care.
const ODD: [&str; 17] = [
    "a\r\nx-injected: 1",
    "a\nx-injected: 1",
    "a\rx-injected: 1",
    "a\r\n\r\nGET /injected HTTP/1.1\r\nhost: x\r\n\r\n",
    "a\u{0}x-injected: 1",
    "\u{1}\u{8}\u{b}\u{c}\u{1b}\u{7f}",
    "\u{85}\u{2028}\u{2029}",
    "\u{560d}\u{560a}x-injected: 1",
    "J\u{f6}rg M\u{fc}ller \u{1f600}",
    "\u{202e}\u{feff}",
    "a, b; c=\"d\"",
    " leading and trailing ",
    "\t",
    "100%41%0d%0ax-injected: 1",
    "<script>alert(1)</script>",
    "=?utf-8?b?YQ==?=",
    "x-lockgate-subject: root",
];

/// The headers of the request with this marker at the upstream, all of which must be known and plain.
async fn plain_headers(door: &Turn, marker: &str) -> lockgate_e2e::Recorded {
    let request = door.stack.delivered(marker).await;
    for (name, value) in request.headers.pairs() {
        let name = String::from_utf8_lossy(name).into_owned();
        let known = ["host", "user-agent", "accept", "accept-language", "upgrade-insecure-requests"];
        let prefixes = ["sec-fetch-", "x-forwarded-", "x-envoy-", "x-request-id", "x-lockgate-", "x-person-"];
        let expected = known.contains(&&*name) || prefixes.iter().any(|prefix| name.starts_with(prefix));
        assert!(expected, "{marker} has {name}: {request:?}");
        assert!(
            value.iter().all(|byte| matches!(byte, b' '..=b'~')),
            "{marker}: {name}: {}",
            value.escape_ascii()
        );
    }
    let own: Vec<_> = request
        .headers
        .pairs()
        .map(|(name, _)| name)
        .filter(|name| name.starts_with(b"x-lockgate-"))
        .collect();
    assert!(own.len() <= 2, "{own:?}");
    request
}

#[tokio::test]
async fn no_claim_of_a_provider_becomes_a_header_of_its_own() {
    let door = door().await;
    for (number, odd) in ODD.into_iter().enumerate() {
        let marker = format!("/claims-{number}");
        door.provider.set_person(json!({
            "sub": "person-1", "email": odd, "email_verified": true, "name": odd,
            "groups": [odd, format!("{odd},admins"), {"x": odd}, 7, null],
            odd: odd, "x-lockgate-subject": "root", "x_lockgate_email": odd,
        }));
        let mut agent = UserAgent::new();
        let page = door.visit(&mut agent, &marker).await;
        assert_eq!(
            (page.response.status, page.url.path()),
            (200, &*marker),
            "{odd:?}: {}",
            page.response.text()
        );
        let request = plain_headers(&door, &marker).await;
        assert_eq!(request.headers.all("x-lockgate-subject"), [b"person-1"], "{odd:?}");
        assert!(!request.headers.contains("x-lockgate-email"), "{odd:?} is no address");
        let name = request.headers.text("x-person-name");
        assert!(name.is_some() && request.headers.all("x-person-name").len() == 1, "{odd:?}: {request:?}");
        // The one comma that joins, and those that the values had, are told apart.
        let groups = request.headers.text("x-person-groups").unwrap();
        assert_eq!(groups.split(',').count(), 3, "{odd:?}: {groups}");
    }
    let smuggled = door.stack.upstream().requests().matching(|request| request.path() == "/injected");
    assert!(smuggled.is_empty());
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_claim_of_10_kb_is_refused_and_one_too_long_for_a_header_left_out() {
    let door = door().await;
    for length in [1_024, 1_025, 4_000, 7_000] {
        let marker = format!("/long-{length}-");
        door.provider.set_person(json!({"sub": "person-1", "name": "n".repeat(length)}));
        let mut agent = UserAgent::new();
        assert_eq!(door.visit(&mut agent, &marker).await.response.status, 200, "{length}");
        assert_eq!(agent.jar.refused(), [""; 0], "{length}");
        let name = plain_headers(&door, &marker).await.headers.text("x-person-name");
        assert_eq!(name.is_some(), length <= 1_024, "{length}");
    }
    for person in [
        json!({"sub": "person-1", "name": "n".repeat(10_000)}),
        json!({"sub": "person-1", "name": "\u{0}".repeat(1_700)}),
        json!({"sub": "person-1", "groups": vec!["g".repeat(100); 100]}),
        json!({"sub": "person-1", "email": format!("{}@example.com", "e".repeat(10_000)), "email_verified": true}),
    ] {
        door.provider.set_person(person);
        let answer = door.visit(&mut UserAgent::new(), "/too-long").await.response;
        assert_no_login("10 kB", &answer, 502);
        assert_eq!(door.stack.reason(&answer).await, "session_too_large", "to try again does not help");
    }
    door.stack.assert_no_trace("/too-long");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_subject_that_cannot_be_one_is_refused_and_not_asked_again_and_again() {
    let door = door().await;
    for subject in
        ["a\r\nx-injected: 1", "a\u{0}", "\u{85}", "\u{1b}[31m", "\t", &"s".repeat(256), &"s".repeat(4_000)]
    {
        door.provider
            .set_person(json!({"sub": subject, "email": "person@example.com", "email_verified": true}));
        let mut agent = UserAgent::new();
        let callback = door.callback(&mut agent, "/odd-subject").await;
        let answer = agent.open(&callback.to_string()).await.response;
        // A session of nobody would send the browser back to the provider, for ever.
        assert_no_login(&format!("{:.20}", subject.escape_debug().to_string()), &answer, 400);
    }
    door.stack.assert_no_trace("/odd-subject");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn claims_that_name_something_twice_are_refused_and_not_asked_again_and_again() {
    let door = door().await;
    // Of two members of one name, two readers may believe different ones; here inside a claim.
    for groups in [r#"{"a":["staff"],"a":["admins"]}"#, r#"[{"a":1,"a":2}]"#, r#"{"a":{"b":1,"b":1}}"#] {
        door.provider.edit_id_token(move |token| {
            let text = format!("[{groups}]");
            token.claims.insert("groups".into(), json!(text));
        });
        door.provider.edit_json(Endpoint::Token, move |body| {
            use lockgate_e2e::signing_keys::{SigningKey, signed_bytes, unverified};
            let (header, claims) = unverified(body["id_token"].as_str().unwrap());
            let quoted = Value::String(format!("[{groups}]")).to_string();
            let claims = claims.to_string().replace(&quoted, groups);
            let token = signed_bytes(&SigningKey::rsa(0), header.to_string().as_bytes(), claims.as_bytes());
            body["id_token"] = json!(token);
        });
        let mut agent = UserAgent::new();
        let callback = door.callback(&mut agent, "/twice").await;
        let answer = agent.open(&callback.to_string()).await.response;
        assert_no_login(groups, &answer, 400);
        door.heal();
    }
    door.stack.assert_no_trace("/twice");
    door.assert_unharmed().await;
}
