//! The stand-in against the emulator: what a push says, which answers end it, and what becomes of
//! one that never succeeds.

use lockgate_e2e::stack::DEAD_LETTER_TOPIC;
use lockgate_e2e::{Answer, Stack, Upstream};
use serde_json::{Value, json};

use super::{EMULATOR, STAND_IN};

async fn both<T>(observe: impl AsyncFn(&Stack) -> T) -> Option<[T; 2]> {
    let emulator = EMULATOR.stack().await?;
    let stand_in = STAND_IN.stack().await.expect("the stand-in is always there");
    let (theirs, ours) = tokio::join!(observe(&emulator), observe(&stand_in));
    Some([theirs, ours])
}

#[tokio::test]
async fn a_push_says_the_same() {
    let Some([theirs, ours]) = both(shapes).await else { return };
    for (t, o) in theirs.iter().zip(&ours) {
        println!("{t}\n{o}");
    }
}

async fn shapes(stack: &Stack) -> Vec<Value> {
    let endpoint = Upstream::on_free_port();
    subscribe(stack, "shapes", &endpoint.url(), 5).await;
    let mut shapes = Vec::new();
    for (data, attributes) in [("x", json!({"a": "b"})), ("x", json!({})), ("", json!({"a": "b"}))] {
        stack.pubsub().publish("shapes", data.as_bytes(), attributes).await;
        let pushed = endpoint.requests().wait_for("a push", shapes.len() + 1, |_| true).await;
        shapes.push(pushed.last().expect("a push").json());
        println!("{:?}", pushed[0].headers);
    }
    shapes
}

async fn subscribe(stack: &Stack, topic: &str, endpoint: &str, attempts: u32) {
    stack.pubsub().create_topic(topic).await;
    let settings = json!({
        "topic": lockgate_e2e::pubsub::topic_name(topic),
        "pushConfig": {"pushEndpoint": endpoint},
        "retryPolicy": {"minimumBackoff": "0s", "maximumBackoff": "0s"},
        "deadLetterPolicy": {
            "deadLetterTopic": lockgate_e2e::pubsub::topic_name(DEAD_LETTER_TOPIC),
            "maxDeliveryAttempts": attempts,
        },
    });
    stack.pubsub().create_subscription(topic, settings).await;
}

#[tokio::test]
async fn what_fails_too_often_is_a_dead_letter() {
    let Some(letters) = both(async |stack| {
        let endpoint = Upstream::on_free_port();
        endpoint.program(|_| Some(Answer::status(500)));
        subscribe(stack, "failing", &endpoint.url(), 5).await;
        stack.pubsub().create_pull_subscription("failed", DEAD_LETTER_TOPIC).await;
        stack.pubsub().publish("failing", b"fails-always", json!({"a": "b"})).await;
        let l = stack.pubsub().pull_until("failed", "fails-always").await;
        (endpoint.requests().len(), l)
    })
    .await
    else {
        return;
    };
    println!("{letters:?}");
}

#[tokio::test]
async fn the_same_answers_end_a_push() {
    let Some(acks) = both(async |stack| {
        let endpoint = Upstream::on_free_port();
        stack.pubsub().create_topic("answers").await;
        for status in [102, 200, 201, 202, 203, 204, 206, 226, 299, 301, 302, 304, 307, 400, 404, 429, 500] {
            let path = format!("/{status}");
            let settings = json!({
                "topic": lockgate_e2e::pubsub::topic_name("answers"),
                "pushConfig": {"pushEndpoint": format!("{}{path}", endpoint.url())},
            });
            stack.pubsub().create_subscription(&format!("answers-{status}"), settings).await;
            let last = if status == 500 { 500 } else { 200 };
            endpoint.program_in_turn(move |r| r.path() == path, [status, last, 200].map(Answer::status));
        }
        stack.pubsub().publish("answers", b"x", json!({})).await;
        endpoint.requests().wait_for("sentinel", 3, |r| r.path() == "/500").await;
        let mut paths: Vec<_> = endpoint.requests().since(0).iter().map(|r| r.path().to_owned()).collect();
        paths.sort();
        paths
    })
    .await
    else {
        return;
    };
    println!("{acks:?}");
}
