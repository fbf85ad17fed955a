//! What holds whichever queue stores the requests and whichever Envoy runs the filters: one body
//! of code for each rule, so that one backend is held to the other. A stack is given to each once.

use serde_json::json;

use crate::journal::PATIENCE;
use crate::slack;
use crate::stack::{DEAD_LETTER_TOPIC, SLACK_SECRET, TOPIC};
use crate::{Answer, Envelope, Request, Response, Stack};

/// A signed command is acknowledged once it is stored, and arrives as JSON.
pub async fn a_command_is_stored_and_delivered(stack: &Stack) {
    let text = "command-1 94070 & größer";
    let answer = stack.client().send(&command(text)).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"response_type": "in_channel"})));
    let [stored] = &stack.stored("command-1")[..] else { panic!("not one message") };
    assert_eq!(stored.body(), command(text).body, "the raw bytes are what is kept");
    let delivered = stack.delivered("command-1").await;
    assert_eq!((&*delivered.method, &*delivered.target), ("POST", "/slack/command"));
    assert_eq!(
        delivered.json(),
        json!({"command": "/weather", "text": text, "team_id": "T0001", "none": ""})
    );
    assert_eq!(json!(delivered.headers.text("x-lockgate-message-id")), stored.envelope()["id"]);
    assert!(!delivered.headers.contains("authorization"), "the push token at the upstream");
}

/// The same, sent byte by byte.
pub async fn a_command_in_one_byte_chunks_is_whole(stack: &Stack) {
    let answer = stack.client().send_chunked(&command("chunked-1"), 1).await;
    assert_eq!(answer.status, 200, "{}", answer.text());
    let expected = json!({"command": "/weather", "text": "chunked-1", "team_id": "T0001", "none": ""});
    assert_eq!(stack.delivered("chunked-1").await.json(), expected);
}

/// An event arrives with the bytes Slack sent, and its id beside them.
pub async fn an_event_is_stored_and_delivered(stack: &Stack) {
    let event = slack::signed(slack::event("/slack/event", "Ev-1", "event-1"), SLACK_SECRET);
    let answer = stack.client().send(&event).await;
    assert_eq!((answer.status, &*answer.text()), (200, ""));
    let delivered = stack.delivered("event-1").await;
    assert_eq!(delivered.body, event.body);
    assert_eq!(delivered.headers.text("x-lockgate-dedup-id").as_deref(), Some("Ev-1"));
    assert_eq!(stack.stored("event-1")[0].attribute("dedup"), Some("Ev-1"));
}

/// What Slack has not signed goes nowhere.
pub async fn a_forged_signature_is_refused(stack: &Stack) {
    let unsigned = slack::command("/slack/command", "forged-1");
    for forged in [unsigned.clone(), slack::signed(unsigned, "another secret")] {
        assert_eq!(stack.client().send(&forged).await.status, 401);
    }
    stack.assert_no_trace("forged-1");
}

/// Query, binary body and headers come back as they were sent.
pub async fn a_request_in_the_log_comes_back_whole(stack: &Stack) {
    let body: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    let request = Request::new("PUT", "/wal/whole-1?a=1&a=%2F&b")
        .header("content-type", "application/octet-stream")
        .header("x-twice", "first")
        .header("x-odd", b"caf\xc3\xa9 \xe9")
        .header("x-twice", "second, third")
        .body(body.clone());
    let answer = stack.client().send(&request).await;
    let delivered = stack.delivered("/whole-1").await;
    assert_eq!((&*delivered.method, &*delivered.target), ("PUT", "/whole-1?a=1&a=%2F&b"));
    assert!(delivered.body == body, "another body of {}", delivered.body.len());
    assert_eq!(delivered.headers.all("content-type"), [b"application/octet-stream"]);
    assert_eq!(delivered.headers.all("x-twice"), [&b"first"[..], b"second, third"]);
    assert_eq!(delivered.headers.all("x-odd"), [b"caf\xc3\xa9 \xe9"]);
    assert_eq!(delivered.headers.text("x-lockgate-message-id"), Some(accepted(&answer)));
}

/// A delivery that fails is made again as the same message; one that succeeds is not.
pub async fn a_failed_delivery_is_made_again_and_a_good_one_is_not(stack: &Stack) {
    let good = stack.client().send(&Request::post("/wal/good-1", "text/plain", "x")).await;
    accepted(&good);
    stack.delivered("/good-1").await;
    let ids = delivered_after_a_failure(stack, "/again-1").await;
    assert!(ids.len() == 2 && ids[0] == ids[1], "{ids:?}");
    assert_eq!(stack.upstream().requests().matching(|request| request.path() == "/good-1").len(), 1);
    assert_eq!(stack.dead_letters().with("again-1"), []);
}

/// What the upstream never takes is a dead letter that says why, and holds all that was stored.
pub async fn a_permanent_answer_makes_a_dead_letter(stack: &Stack) {
    let subscription = "letters-of-404";
    stack.pubsub().create_pull_subscription(subscription, DEAD_LETTER_TOPIC).await;
    stack.upstream().program(|request| (request.path() == "/gone-1").then(|| Answer::status(404)));
    let answer = stack.client().send(&Request::post("/wal/gone-1", "text/plain", "x")).await;
    accepted(&answer);
    let letter = stack.pubsub().pull_until(subscription, "/gone-1").await;
    assert_eq!(letter.data, stack.stored("/gone-1")[0].data);
    assert_eq!(letter.attribute("lockgate_reason"), Some("upstream_status"));
    assert_eq!(letter.attribute("lockgate_status"), Some("404"));
    assert!(letter.attribute("lockgate_message_id").is_some_and(|id| !id.is_empty()));
    delivered_after_a_failure(stack, "/beside-404").await;
    assert_eq!(stack.upstream().requests().matching(|request| request.path() == "/gone-1").len(), 1);
}

/// What somebody with the right to publish puts into the topic ends as a dead letter, once.
pub async fn poison_in_the_topic_is_a_dead_letter_once(stack: &Stack) {
    let subscription = "letters-of-poison";
    let pubsub = stack.pubsub();
    pubsub.create_pull_subscription(subscription, DEAD_LETTER_TOPIC).await;
    let unsealed = Envelope::new("unsealed-1", "POST", "/unsealed-1").body("x").unsealed();
    for (marker, data, reason) in [
        ("poison-1", b"poison-1 is no envelope".to_vec(), "not_an_envelope"),
        ("unsealed-1", unsealed, "not_sealed"),
    ] {
        pubsub.publish(TOPIC, &data, json!({"of": "an attacker"})).await;
        let letter = pubsub.pull_until(subscription, marker).await;
        assert_eq!(letter.data, data);
        assert_eq!(letter.attribute("of"), Some("an attacker"));
        assert_eq!(letter.attribute("lockgate_reason"), Some(reason));
    }
    delivered_after_a_failure(stack, "/beside-poison").await;
    for marker in ["poison-1", "unsealed-1"] {
        stack.dead_letters().wait_for(marker).await;
        assert_eq!(stack.dead_letters().with(marker).len(), 1, "{marker}");
        assert_eq!(stack.upstream().requests().matching(|request| request.contains(marker)).len(), 0);
    }
}

/// A message waits for an upstream that is not there. No other scenario may run beside this one.
pub async fn an_absent_upstream_gets_the_message_when_it_is_back(stack: &Stack) {
    let since = stack.gateway_log().len();
    stack.upstream().leave().await;
    let answer = stack.client().send(&Request::post("/wal/absent-1", "text/plain", "x")).await;
    let refused = |lines: &[String]| {
        let mut new = lines.iter().skip(since);
        new.any(|line| line.contains(r#""path":"/absent-1""#) && line.contains(r#""status":503"#))
    };
    let refused = stack.gateway_log().reaches(PATIENCE, refused).await;
    stack.upstream().come_back();
    assert!(refused, "no push has been refused");
    let id = accepted(&answer);
    let delivered = stack.delivered("/absent-1").await;
    assert_eq!(delivered.headers.text("x-lockgate-message-id"), Some(id));
    assert_eq!(stack.dead_letters().with("absent-1"), []);
}

/// An open route leads to the upstream and back.
pub async fn an_open_route_passes_through(stack: &Stack) {
    stack.upstream().program(|request| {
        (request.path() == "/public/page").then(|| Answer::with_body(203, "text/plain", "the page"))
    });
    let request = Request::post("/public/page?a=1", "text/plain", "to the page");
    let answer = stack.client().send(&request).await;
    assert_eq!((answer.status, &*answer.text()), (203, "the page"));
    let seen = stack.delivered("to the page").await;
    assert_eq!((&*seen.target, &*seen.text()), ("/public/page?a=1", "to the page"));
}

/// A configuration's group that lets one program in, with identity tokens for the chain.
pub const PROGRAMS: &str = "
sign_in:
  tokens:
    jwt:
      - issuer: ${PUSH_ISSUER}
        jwks_uri: ${GOOGLE_API_BASE}/oauth2/v3/certs
        audiences: [\"${PUBLIC_URL}\"]
  policies:
    - { effect: allow, emails: [program@e2e.iam.gserviceaccount.com] }
";

/// With [`PROGRAMS`]: a program comes in with its token, and nobody without one or with another's.
pub async fn a_program_comes_in_with_its_token(stack: &Stack) {
    let audience = format!("http://{}", stack.client().address());
    let token = |email: &str, audience: &str| {
        stack.tokens().push_with(|claims| {
            claims.insert("email".to_owned(), json!(email));
            claims.insert("aud".to_owned(), json!(audience));
        })
    };
    let program = "program@e2e.iam.gserviceaccount.com";
    let good = token(program, &audience);
    let request = |token: &str, marker: &str| {
        let bearer = format!("Bearer {token}");
        // A client may not say who it is.
        Request::get(&format!("/admin/{marker}"))
            .header("authorization", bearer)
            .header("x-lockgate-email", "root@example.com")
    };
    assert_eq!(stack.client().send(&request(&good, "program-1")).await.status, 200);
    let seen = stack.delivered("program-1").await;
    assert_eq!(seen.headers.all("x-lockgate-email"), [program.as_bytes()]);
    let mut forged = good.clone();
    forged.truncate(forged.len() - 8);
    forged.push_str("AAAAAAAA");
    let refused = [
        (forged, 401),
        (token(program, "https://other.example"), 401),
        (token("other@e2e.iam.gserviceaccount.com", &audience), 403),
    ];
    for (token, status) in refused {
        let answer = stack.client().send(&request(&token, "program-refused-1")).await;
        assert_eq!(answer.status, status, "{}", answer.text());
    }
    assert_eq!(stack.client().send(&Request::get("/admin/program-refused-1")).await.status, 401);
    stack.assert_no_trace("program-refused-1");
}

fn command(text: &str) -> Request {
    let fields = [("command", "/weather"), ("text", text), ("team_id", "T0001"), ("none", "")];
    slack::signed(slack::form("/slack/command", &fields), SLACK_SECRET)
}

/// The id the log has given to a request it has taken.
fn accepted(answer: &Response) -> String {
    assert_eq!(answer.status, 202, "{}", answer.text());
    answer.json()["id"].as_str().expect("an id").to_owned()
}

/// Lets a delivery fail and waits until it is made again: by then the queue has made again
/// whatever else had failed before. Returns the ids that the attempts bore.
async fn delivered_after_a_failure(stack: &Stack, path: &'static str) -> Vec<Option<String>> {
    let answers = [500, 200].map(Answer::status);
    stack.upstream().program_in_turn(move |request| request.path() == path, answers);
    accepted(&stack.client().send(&Request::post(&format!("/wal{path}"), "text/plain", "x")).await);
    let attempts = stack.upstream().requests().wait_for(path, 2, |request| request.path() == path).await;
    attempts.iter().map(|request| request.headers.text("x-lockgate-message-id")).collect()
}
