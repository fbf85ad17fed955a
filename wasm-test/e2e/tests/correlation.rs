//! One id for one request: in the answer, the access log, the log of refusals, the envelope, and at
//! the upstream, now or later.

use lockgate_e2e::journal::PATIENCE;
use lockgate_e2e::stack::SLACK_SECRET;
use lockgate_e2e::{Request, Shared, Stack, slack};
use serde_json::Value;
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

/// The access log's line about a request to this path, with this id. Envoy writes the log every ten
/// seconds, and when it ends.
async fn access_log(stack: &Stack, path: &str, id: &str) -> Value {
    stack.stop_gateway().await;
    let lines = stack.gateway_log().since(0);
    let mut lines = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let line = lines.find(|line| line["path"] == path && line["request_id"] == id);
    line.unwrap_or_else(|| panic!("no line about {path} with {id}"))
}

#[tokio::test]
async fn an_id_is_made_where_there_is_none_and_is_the_same_everywhere() {
    let stack = Stack::builder().start().await;
    let answer = stack.client().send(&Request::post("/wal/made-id", "text/plain", "x")).await;
    let id = answer.headers.text("x-request-id").expect("an id in the answer");
    let delivered = stack.delivered("/made-id").await;
    assert_eq!(delivered.headers.all("x-request-id"), [id.as_bytes()]);
    let envelope = stack.stored("/made-id")[0].envelope();
    assert!(envelope["headers"].as_array().unwrap().contains(&serde_json::json!(["x-request-id", id])));
    assert_eq!(access_log(&stack, "/wal/made-id", &id).await["status"], 202);
    assert_eq!(access_log(&stack, "/made-id", &id).await["route"], "restored");
}

#[tokio::test]
async fn an_id_that_is_given_is_kept() {
    let stack = Stack::builder().start().await;
    let id = "given-id-1f2e";
    for (path, later) in
        [("/public/given-id", "/public/given-id"), ("/wal/given-id-later", "/given-id-later")]
    {
        let request = Request::post(path, "text/plain", "x").header("x-request-id", id);
        let answer = stack.client().send(&request).await;
        assert_eq!(answer.headers.all("x-request-id"), [id.as_bytes()], "{path}");
        assert_eq!(stack.delivered(later).await.headers.all("x-request-id"), [id.as_bytes()], "{path}");
    }
    for path in ["/public/given-id", "/wal/given-id-later", "/given-id-later"] {
        access_log(&stack, path, id).await;
    }
}

#[tokio::test]
async fn a_trace_goes_on_through_the_log() {
    let stack = stack().await;
    let trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    for name in ["traceparent", "x-cloud-trace-context"] {
        let request = Request::post(&format!("/wal/trace-{name}"), "text/plain", "x").header(name, trace);
        stack.client().send(&request).await;
        let marker = format!("/trace-{name}");
        assert_eq!(stack.delivered(&marker).await.headers.all(name), [trace.as_bytes()]);
        let message = &stack.stored(&marker)[0];
        assert_eq!(
            (message.envelope()["trace"].as_str(), message.attribute("trace")),
            (Some(trace), Some(trace))
        );
    }
}

#[tokio::test]
async fn a_refusal_can_be_found_in_the_log_by_the_id_its_sender_was_told() {
    let stack = Stack::builder().start().await;
    let answer = stack.client().send(&slack::command("/slack/command", "unsigned")).await;
    let id = answer.headers.text("x-request-id").expect("an id in the refusal");
    let told = |lines: &[String]| {
        let expected = format!(
            "lockgate filter=slack-signature refused reason=missing_signature status=401 request_id={id}"
        );
        lines.iter().any(|line| line.contains(&expected))
    };
    assert!(stack.gateway_log().reaches(PATIENCE, told).await);
    assert!(stack.admin().stat("wasmcustom.lockgate.slack_signature.refused.missing_signature").await >= 1);
    let line = access_log(&stack, "/slack/command", &id).await;
    assert_eq!(line["refused"], "slack-signature:missing_signature");
    assert_eq!(line["status"], 401);
}

#[tokio::test]
async fn what_has_happened_is_counted() {
    let stack = Stack::builder().start().await;
    let counter = async |name: &str| stack.admin().stat(&format!("wasmcustom.lockgate.{name}")).await;
    let command = slack::signed(slack::command("/slack/command", "counted"), SLACK_SECRET);
    stack.client().send(&command).await;
    stack.delivered("counted").await;
    stack
        .upstream()
        .program(|request| (request.path() == "/counted-404").then(|| lockgate_e2e::Answer::status(404)));
    stack.client().send(&Request::post("/wal/counted-404", "text/plain", "x")).await;
    stack.dead_letters().wait_for("/counted-404").await;
    let buried = "wasmcustom.lockgate.pubsub_playback.played_back.dead_lettered";
    stack.admin().wait_for_stat(buried, |count| count == 1).await;
    assert_eq!(counter("slack_signature.verified").await, 1);
    assert_eq!(counter("pubsub_enqueue.enqueued").await, 2);
    assert_eq!(counter("pubsub_playback.played_back.delivered").await, 1);
    assert!(stack.admin().text("/stats?filter=publish_ms").await.contains("publish_ms"));
}
