//! Slack's requests, made by Slack's own SDK, from the door to the upstream.

use std::time::{Duration, Instant};

use lockgate_e2e::slack::{self, block_actions};
use lockgate_e2e::slack_clients::{BoltApp, PythonSlack};
use lockgate_e2e::stack::{CONFIG, SLACK_SECRET};
use lockgate_e2e::{Answer, Request, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder().concurrency(2)).await
}

fn signed(request: Request) -> Request {
    slack::signed(request, SLACK_SECRET)
}

#[tokio::test]
async fn a_command_is_acknowledged_stored_as_it_came_and_played_back_as_json() {
    let stack = stack().await;
    let python = PythonSlack::start();
    let fields = json!({
        "team_id": "T0001", "command": "/weather", "text": "sdk-command 94070 & größer",
        "response_url": "https://hooks.slack.com/commands/1/2", "enterprise_id": "",
    });
    let request = python.command("/slack/command", SLACK_SECRET, fields.clone()).await;
    let answer = stack.client().send(&request).await;
    assert_eq!((answer.status, answer.json()), (200, json!({"response_type": "in_channel"})));

    let [message] = &stack.stored("sdk-command")[..] else { panic!("not one message") };
    assert_eq!(message.body(), request.body, "the raw bytes are what is kept");
    let envelope = message.envelope();
    assert_eq!((&envelope["v"], &envelope["route"]), (&json!(1), &json!("slack-command")));
    assert_eq!(envelope["principal"]["filter"], "slack-signature");
    assert_eq!(envelope["principal"]["subject"], "T0001");
    assert_eq!(message.attribute("kind"), Some("command"));

    let delivered = stack.delivered("sdk-command").await;
    assert_eq!((&*delivered.method, &*delivered.target), ("POST", "/slack/command"));
    assert_eq!(delivered.json(), fields);
    let header = |name| delivered.headers.text(name).unwrap_or_default();
    assert_eq!(header("content-type"), "application/json");
    assert_eq!(header("content-length"), delivered.body.len().to_string());
    assert_eq!(json!(header("x-lockgate-message-id")), envelope["id"]);
    assert_eq!(json!(header("webhook-id")), envelope["id"]);
    assert_eq!(json!(header("x-lockgate-received-at")), envelope["received_at"]);
    for name in ["x-slack-signature", "x-slack-request-timestamp", "authorization"] {
        assert!(!delivered.headers.contains(name), "{name} at the upstream");
    }
}

#[tokio::test]
async fn an_event_keeps_its_bytes_its_retry_headers_and_its_id() {
    let stack = stack().await;
    let event = r#"{"type":"event_callback","team_id":"T0001","event_id":"Ev-bytes-1",
        "event":{"type":"message","ts":"1515449522.000016","big":9007199254740993,"none":[]},
        "authorizations":[]}"#;
    let request = Request::post("/slack/event", "application/json", event)
        .header("x-slack-retry-num", "1")
        .header("x-slack-retry-reason", "http_timeout");
    let answer = stack.client().send(&signed(request)).await;
    assert_eq!((answer.status, &*answer.text()), (200, ""));
    let delivered = stack.delivered("Ev-bytes-1").await;
    assert_eq!(delivered.text(), event);
    let header = |name| delivered.headers.text(name).unwrap_or_default();
    assert_eq!(header("x-slack-retry-num"), "1");
    assert_eq!(header("x-slack-retry-reason"), "http_timeout");
    assert_eq!(header("x-lockgate-dedup-id"), "Ev-bytes-1");
    assert_eq!(stack.stored("Ev-bytes-1")[0].attribute("dedup"), Some("Ev-bytes-1"));
}

#[tokio::test]
async fn an_event_that_slack_sends_again_is_stored_again() {
    // The first may never have reached the queue; only the upstream knows what it has handled.
    let stack = stack().await;
    for attempt in ["0", "1"] {
        let request =
            slack::event("/slack/event", "Ev-again-1", "again").header("x-slack-retry-num", attempt);
        assert_eq!(stack.client().send(&signed(request)).await.status, 200);
    }
    let messages = stack.stored("Ev-again-1");
    assert_eq!(messages.len(), 2);
    assert_ne!(messages[0].envelope()["id"], messages[1].envelope()["id"]);
    assert_eq!(messages[0].envelope()["dedup"], messages[1].envelope()["dedup"]);
}

#[tokio::test]
async fn an_interactive_payload_reaches_the_upstream_as_json() {
    let stack = stack().await;
    let payload = block_actions("pressed-1");
    let python = PythonSlack::start();
    let request = python.interactive("/slack/interactive", SLACK_SECRET, payload.clone()).await;
    assert_eq!(stack.client().send(&request).await.status, 200);
    assert_eq!(stack.stored("pressed-1")[0].attribute("kind"), Some("block_actions"));
    assert_eq!(stack.delivered("pressed-1").await.json(), json!({"payload": payload}));
}

#[tokio::test]
async fn a_url_verification_is_answered_at_the_door_and_only_when_signed() {
    let stack = stack().await;
    let body = json!({"token": "t", "challenge": "challenge-3eZbrw1aB", "type": "url_verification"});
    let request = Request::post("/slack/event", "application/json", body.to_string());
    let forged = stack.client().send(&request).await;
    assert_eq!(forged.status, 401);
    assert!(!forged.text().contains("challenge-3eZbrw1aB"));
    let answer = stack.client().send(&signed(request)).await;
    assert_eq!((answer.status, &*answer.text()), (200, "challenge-3eZbrw1aB"));
    assert_eq!(answer.headers.text("content-type").as_deref(), Some("text/plain"));
    stack.assert_no_trace("challenge-3eZbrw1aB");
}

#[tokio::test]
async fn slacks_look_at_the_certificate_is_answered_at_the_door() {
    let stack = stack().await;
    let fields = [("ssl_check", "1"), ("token", "ssl-check-token")];
    for request in [
        slack::form("/slack/command", &fields),
        Request::get("/slack/command?ssl_check=1&token=ssl-check-token"),
        signed(slack::form("/slack/command", &fields)),
    ] {
        let answer = stack.client().send(&request).await;
        assert_eq!((answer.status, &*answer.text()), (200, ""), "{request:?}");
    }
    stack.assert_no_trace("ssl-check-token");
}

#[tokio::test]
async fn what_slack_shows_the_user_goes_to_the_upstream_and_its_answer_back() {
    let stack = stack().await;
    let options = r#"{"options":[]}"#;
    stack.upstream().program(|request| {
        let asked = request.path() == "/slack/interactive" && request.headers.contains("x-slack-signature");
        asked.then(|| Answer::with_body(200, "application/json", options))
    });
    for kind in ["view_submission", "block_suggestion", "dialog_submission", "dialog_suggestion"] {
        let marker = format!("synchronous-{kind}");
        let payload = json!({"type": kind, "team": {"id": "T0001"}, "view": {"callback_id": marker}});
        let request = signed(slack::interactive("/slack/interactive", &payload));
        let answer = stack.client().send(&request).await;
        assert_eq!((answer.status, &*answer.text()), (200, options), "{kind}");
        let seen = stack.delivered(&marker).await;
        assert_eq!(seen.body, request.body, "{kind}: as Slack wrote and signed it");
        assert!(stack.stored(&marker).is_empty(), "{kind} was stored");
    }
}

#[tokio::test]
async fn slack_is_answered_in_time_while_the_upstream_sleeps() {
    let stack = stack().await;
    stack.upstream().program(|request| request.contains("while-asleep").then_some(Answer::Hang));
    let started = Instant::now();
    let request = signed(slack::command("/slack/command", "while-asleep"));
    assert_eq!(stack.client().send(&request).await.status, 200);
    assert!(started.elapsed() < Duration::from_secs(3), "{:?}", started.elapsed());
    stack.delivered("while-asleep").await;
}

#[tokio::test]
async fn a_stock_bolt_app_handles_what_was_stored_signed_afresh() {
    let paths = ["/slack/command", "/slack/event", "/slack/interactive"];
    let app = BoltApp::start(SLACK_SECRET, &paths).await;
    let sign = "sign: { slack: { env: SLACK_SIGNING_SECRET } }";
    let config = CONFIG
        .replace(
            "{ path: /slack/interactive }, adapter: plain",
            &format!("{{ path_prefix: /slack }}, {sign}"),
        )
        .replace("    - { match: { path: /slack/command }, adapter: plain }\n", "");
    let stack = Stack::builder().config(&config).upstream(app.address()).start().await;
    let client = stack.client();
    let python = PythonSlack::start();

    let fields = json!({"command": "/weather", "text": "bolt-command", "team_id": "T0001", "user_id": "U1"});
    let command = python.command("/slack/command", SLACK_SECRET, fields).await;
    let answer = client.send(&command).await;
    assert_eq!(answer.json(), json!({"response_type": "in_channel"}));
    let handled = app.wait_for("command", "bolt-command").await;
    let id = &stack.stored("bolt-command")[0].envelope()["id"];
    assert_eq!(&handled["headers"]["x-lockgate-message-id"], id);
    assert_ne!(handled["headers"]["x-slack-signature"], Value::Null);

    let event = slack::event("/slack/event", "Ev-bolt", "bolt-event");
    assert_eq!(client.send(&signed(event)).await.status, 200);
    app.wait_for("event", "bolt-event").await;
    let press = slack::interactive("/slack/interactive", &block_actions("bolt-press"));
    assert_eq!(client.send(&signed(press)).await.status, 200);
    app.wait_for("action", "bolt-press").await;

    let submission = json!({
        "type": "view_submission", "team": {"id": "T0001"}, "user": {"id": "U1"},
        "view": {"id": "V1", "type": "modal", "callback_id": "bolt-view", "state": {"values": {}}},
    });
    let request = python.interactive("/slack/interactive", SLACK_SECRET, submission).await;
    let answer = client.send(&request).await;
    assert_eq!(answer.json(), json!({"response_action": "errors", "errors": {"field": "taken"}}));
}
