//! Sessions whose tokens expire, while many ask, and while somebody signs out.

use std::time::Duration;

use lockgate_e2e::Request;
use lockgate_e2e::cookie_jar::set_cookies;
use lockgate_e2e::hostile_provider::Endpoint;
use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::siege::{Siege, Turn};
use lockgate_e2e::slack::now;
use lockgate_e2e::user_agent::UserAgent;
use lockgate_e2e::{Answer, Response};
use serde_json::json;

use crate::{door, header, session_in};

/// Returns when the clock says that a token of one second, given before this was called, is over.
async fn a_second_later() {
    let given = now();
    while now() <= given + 1 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Returns when a second begins: a token of one second that is given now is good for most of one. It is
/// over with the second, since the clock of tokens has no smaller part.
async fn when_a_second_begins() {
    let last = now();
    while now() == last {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Asks until the answer is another than 200, which it is when the session's tokens have expired.
async fn when_its_tokens_expire(door: &Turn, cookies: &str) -> u16 {
    let expires = async {
        loop {
            let status = door.asks(cookies).await.status;
            if status != 200 {
                return status;
            }
        }
    };
    tokio::time::timeout(PATIENCE, expires).await.expect("tokens of one second expire")
}

/// A browser whose tokens expire in a second, so that they want a refresh at once; what comes of the
/// refresh lives long.
async fn expiring(door: &Siege) -> UserAgent {
    door.provider.behave(|manners| manners.access_lifetime = Duration::from_secs(1));
    // Nothing follows the last redirect: the first page with a session would refresh it.
    let mut agent = UserAgent::new();
    let callback = door.callback(&mut agent, "/expiring").await;
    assert_eq!(agent.open(&callback.to_string()).await.response.status, 302);
    door.provider.behave(|manners| manners.access_lifetime = Duration::from_secs(3_600));
    agent
}

/// Sends the same request a hundred times at once.
async fn hundred(door: &Turn, cookies: &str) -> Vec<Response> {
    let client = door.stack.client();
    let all = (0..100).map(|number| {
        let request = Request::get(&format!("/hundred/{number}")).header("cookie", cookies);
        tokio::spawn(async move { client.send(&request).await })
    });
    let mut answers = Vec::new();
    for one in all.collect::<Vec<_>>() {
        answers.push(one.await.unwrap());
    }
    answers
}

/// The session that an answer gives the browser, if it gives one.
fn given(answer: &Response) -> Option<String> {
    let cookies = set_cookies(answer).into_iter().filter(|cookie| cookie.name == "lockgate");
    cookies.map(|cookie| format!("lockgate={}", cookie.value)).next()
}

#[tokio::test]
async fn a_hundred_requests_at_once_refresh_once_and_all_succeed() {
    let door = door().await;
    for expired in [false, true] {
        let agent = expiring(&door).await;
        if expired {
            a_second_later().await;
        }
        let (refreshed, exchanged) = (door.counter("refreshed").await, door.provider.count(Endpoint::Token));
        let answers = hundred(&door, &header(&session_in(&agent))).await;
        for answer in &answers {
            assert_eq!(answer.status, 200, "expired: {expired}: {}", answer.text());
        }
        let calls = door.provider.calls_to(Endpoint::Token);
        assert_eq!(calls.len(), exchanged + 1, "expired: {expired}");
        assert_eq!(calls.last().unwrap().parameter("grant_type").as_deref(), Some("refresh_token"));
        assert_eq!(door.counter("refreshed").await, refreshed + 1);
        assert_eq!(door.provider.reuses(), 0);
        let newer: Vec<_> = answers.iter().filter_map(given).collect();
        assert!(!newer.is_empty(), "the browser is told");
        for cookies in newer.iter().take(3) {
            assert_eq!(door.whose(cookies).await.as_deref(), Some("person-1"));
        }
        // Neither who has the new cookie nor who still has the old one refreshes again.
        for cookies in [newer[0].clone(), header(&session_in(&agent))] {
            assert!(hundred(&door, &cookies).await.iter().all(|answer| answer.status == 200));
        }
        assert_eq!(door.provider.count(Endpoint::Token), exchanged + 1);
        assert_eq!(door.provider.reuses(), 0);
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn who_leaves_while_a_refresh_is_under_way_takes_nothing_with_them() {
    let door = door().await;
    let agent = expiring(&door).await;
    let cookies = header(&session_in(&agent));
    let exchanged = door.provider.count(Endpoint::Token);
    let hold = door.provider.hold(Endpoint::Token);
    let mut connection = door.stack.client().connect().await;
    let request = Request::get("/left").header("host", "127.0.0.1").header("cookie", &cookies);
    connection.write(&request.to_bytes()).await;
    door.provider.wait_for_calls(Endpoint::Token, exchanged + 1).await;
    drop(connection);
    hold.release();
    // The refresh token is spent by now: only its outcome keeps the session alive.
    let began = tokio::time::Instant::now();
    loop {
        let answer = door.asks(&cookies).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        if given(&answer).is_some() {
            break;
        }
        assert!(began.elapsed() < Duration::from_secs(10), "nobody is given the newer session");
    }
    assert_eq!(door.provider.count(Endpoint::Token), exchanged + 1);
    assert_eq!(door.provider.reuses(), 0);
    door.assert_unharmed().await;
}

async fn sign_out(door: &Siege, cookies: &str) -> Response {
    let request = Request::post("/_lockgate/sign-out", "application/x-www-form-urlencoded", "")
        .header("origin", door.url(""))
        .header("sec-fetch-site", "same-origin")
        .header("cookie", cookies);
    door.stack.client().send(&request).await
}

#[tokio::test]
async fn a_sign_out_during_a_refresh_is_a_sign_out() {
    let door = door().await;
    for round in 0..4 {
        let agent = expiring(&door).await;
        let cookies = header(&session_in(&agent));
        let exchanged = door.provider.count(Endpoint::Token);
        let hold = door.provider.hold(Endpoint::Token);
        let (client, request) = (door.stack.client(), Request::get("/raced").header("cookie", &cookies));
        let waiting = tokio::spawn(async move { client.send(&request).await });
        door.provider.wait_for_calls(Endpoint::Token, exchanged + 1).await;
        assert_eq!(sign_out(&door, &cookies).await.status, 303, "round {round}");
        hold.release();
        let raced = waiting.await.unwrap();
        assert_eq!(raced.status, 401, "round {round}: a session that was signed out passes");
        assert_eq!(given(&raced), None, "round {round}");
        for _ in 0..4 {
            assert_eq!(door.whose(&cookies).await, None, "round {round}");
        }
        door.heal();
    }
    door.stack.assert_no_trace("/raced");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_sign_out_while_the_upstream_works_is_not_undone_by_its_answer() {
    let door = door().await;
    door.stack.upstream().program(|request| {
        (request.path() == "/long-work")
            .then(|| Answer::with_body(200, "text/plain", "done").after(Duration::from_millis(400)))
    });
    for _ in 0..3 {
        let agent = expiring(&door).await;
        let cookies = header(&session_in(&agent));
        let worked =
            door.stack.upstream().requests().matching(|request| request.path() == "/long-work").len();
        let (client, request) = (door.stack.client(), Request::get("/long-work").header("cookie", &cookies));
        let working = tokio::spawn(async move { client.send(&request).await });
        door.stack
            .upstream()
            .requests()
            .wait_for("the work", worked + 1, |request| request.path() == "/long-work")
            .await;
        assert_eq!(sign_out(&door, &cookies).await.status, 303);
        let answer = working.await.unwrap();
        assert_eq!((answer.status, answer.text().as_str()), (200, "done"), "it had begun");
        assert_eq!(given(&answer), None, "its answer gives nothing back");
        assert_eq!(door.whose(&cookies).await, None);
    }
    // The same answer does give the newer session to somebody who stays.
    let agent = expiring(&door).await;
    let request = Request::get("/long-work").header("cookie", header(&session_in(&agent)));
    let newer = given(&door.stack.client().send(&request).await).unwrap();
    assert_eq!(door.whose(&newer).await.as_deref(), Some("person-1"));
    door.assert_unharmed().await;
}

#[tokio::test]
async fn signing_out_with_an_old_cookie_ends_what_became_of_it() {
    let door = door().await;
    let agent = expiring(&door).await;
    let old = header(&session_in(&agent));
    let newer = given(&door.asks(&old).await).unwrap();
    assert_eq!(door.whose(&newer).await.as_deref(), Some("person-1"));
    assert_eq!(sign_out(&door, &old).await.status, 303);
    assert_eq!((door.whose(&old).await, door.whose(&newer).await), (None, None));

    let agent = expiring(&door).await;
    let old = header(&session_in(&agent));
    let newer = given(&door.asks(&old).await).unwrap();
    assert_eq!(sign_out(&door, &newer).await.status, 303);
    for _ in 0..4 {
        assert_eq!((door.whose(&old).await, door.whose(&newer).await), (None, None));
    }
    door.assert_unharmed().await;
}

#[tokio::test]
async fn a_refresh_cannot_make_somebody_else_of_a_session() {
    let door = door().await;
    let claims = [
        ("sub", json!("admin")),
        ("sub", json!(["person-1"])),
        ("iss", json!("https://evil.example")),
        ("aud", json!("x")),
    ];
    for (name, value) in claims {
        let agent = expiring(&door).await;
        let cookies = header(&session_in(&agent));
        let told = value.clone();
        door.provider.edit_id_token(move |token| *token = token.clone().claim(name, told.clone()));
        for _ in 0..20 {
            let answer = door.asks(&cookies).await;
            assert!(matches!(answer.status, 200 | 401), "{name}: {value}: {}", answer.status);
            if let Some(newer) = given(&answer) {
                assert_eq!(door.whose(&newer).await.as_deref(), Some("person-1"));
            }
        }
        // The refresh token is spent, and what came for it was for nobody here.
        assert_eq!(when_its_tokens_expire(&door, &cookies).await, 401, "{name}: {value}");
        assert_eq!(door.opens("/x", &cookies).await.status, 302);
        door.heal();
    }
    let others = door
        .stack
        .upstream()
        .requests()
        .matching(|request| request.headers.text("x-lockgate-subject").as_deref() == Some("admin"));
    assert!(others.is_empty(), "{others:?}");
    door.assert_unharmed().await;
}

#[tokio::test]
async fn an_odd_answer_to_a_refresh_ends_no_session_before_its_tokens() {
    let door = door().await;
    let odd = [
        Answer::with_body(500, "text/html", "<script>evil()</script>"),
        Answer::with_body(
            200,
            "application/json",
            r#"{"access_token":"a\r\nx-injected: 1","refresh_token":"b"}"#,
        ),
        Answer::with_body(200, "application/json", "[]"),
        Answer::with_body(200, "application/json", &"{".repeat(300_000)),
        Answer::with_body(400, "application/json", r#"{"error":"invalid_grant"}"#),
        Answer::with_body(401, "application/json", r#"{"error":"invalid_client"}"#),
        Answer::status(204),
        Answer::Reset,
    ];
    for answer in odd {
        when_a_second_begins().await;
        let agent = expiring(&door).await;
        let cookies = header(&session_in(&agent));
        let refuses = matches!(&answer, Answer::Respond(response, _) if response.status == 400);
        let what = match &answer {
            Answer::Respond(response, _) => format!("{} {:.60}", response.status, response.text()),
            other => format!("{other:?}"),
        };
        door.provider.answer(Endpoint::Token, move |_| Some(answer.clone()));
        let exchanged = door.provider.count(Endpoint::Token);
        for _ in 0..10 {
            assert_eq!(door.asks(&cookies).await.status, 200, "{what}: its tokens are good");
        }
        assert_eq!(door.provider.count(Endpoint::Token), exchanged + 1, "{what}: asked again and again");
        let status = when_its_tokens_expire(&door, &cookies).await;
        assert_eq!(status, if refuses { 401 } else { 503 }, "{what}");
        door.heal();
    }
    door.assert_unharmed().await;
}
