//! The stand-in against the emulator: what a push says, which answers end it, and what becomes of
//! a message when none does.

use lockgate_e2e::pubsub::topic_name;
use lockgate_e2e::stack::DEAD_LETTER_TOPIC;
use lockgate_e2e::{Answer, Stack, Upstream};
use serde_json::{Value, json};

use super::both;

#[tokio::test]
async fn a_push_says_the_same() {
    let Some([theirs, ours]) = both(pushes).await else { return };
    assert_eq!(theirs.map(as_google_writes), ours);
}

async fn pushes(stack: &Stack) -> [Value; 3] {
    let endpoint = Upstream::on_free_port();
    subscribe(stack, "pushes", &endpoint.url()).await;
    let mut bodies = Vec::new();
    for (data, attributes) in [("x", json!({"a": "b"})), ("x", json!({})), ("", json!({"a": "b"}))] {
        stack.pubsub().publish("pushes", data.as_bytes(), attributes).await;
        let pushes = endpoint.requests().wait_for("a push", bodies.len() + 1, |_| true).await;
        let push = &pushes[bodies.len()];
        assert_eq!(push.headers.all("content-type"), [b"application/json"]);
        let mut body: Value = push.json();
        for twice in [["messageId", "message_id"], ["publishTime", "publish_time"]] {
            let [one, other] = twice.map(|name| body["message"][name].take());
            assert!(one.is_string() && one == other, "{twice:?}: {one} and {other}");
        }
        bodies.push(body);
    }
    bodies.try_into().expect("three pushes")
}

/// The emulator counts no attempts, and writes what is empty where Google, as JSON of Protocol
/// Buffers does, writes nothing.
fn as_google_writes(mut push: Value) -> Value {
    push["deliveryAttempt"] = json!(1);
    let message = push["message"].as_object_mut().expect("a message");
    message.retain(|_, value| *value != json!("") && *value != json!({}));
    push
}

/// <https://cloud.google.com/pubsub/docs/push>: 102, 200, 201, 202 and 204 acknowledge.
#[tokio::test]
async fn the_same_answers_acknowledge_a_push() {
    let Some([theirs, ours]) = both(acknowledging).await else { return };
    assert_eq!(ours, [102, 200, 201, 202, 204]);
    assert_eq!(theirs, [102, 200, 201, 203, 204], "the emulator takes 203 for 202");
}

/// The answers after which a push is not made again.
async fn acknowledging(stack: &Stack) -> Vec<u16> {
    const ANSWERS: [u16; 16] =
        [102, 200, 201, 202, 203, 204, 206, 226, 301, 302, 304, 307, 400, 404, 429, 503];
    let endpoint = Upstream::on_free_port();
    stack.pubsub().create_topic("answers").await;
    for status in ANSWERS {
        let push = json!({"pushEndpoint": format!("{}/{status}", endpoint.url())});
        let settings = json!({"topic": topic_name("answers"), "pushConfig": push});
        stack.pubsub().create_subscription(&format!("answered-{status}"), settings).await;
        // The last one is refused once more, and so made a third time when the others have had
        // their second.
        let second = if status == 503 { 503 } else { 200 };
        let answers = [status, second, 200].map(Answer::status);
        endpoint.program_in_turn(move |push| push.path() == format!("/{status}"), answers);
    }
    stack.pubsub().publish("answers", b"x", json!({})).await;
    endpoint.requests().wait_for("the third push", 3, |push| push.path() == "/503").await;
    let pushes = |status: u16| endpoint.requests().matching(|push| push.path() == format!("/{status}")).len();
    ANSWERS.into_iter().filter(|status| pushes(*status) == 1).collect()
}

#[tokio::test]
async fn a_message_that_always_fails_becomes_the_same_dead_letter() {
    let Some(letters) = both(dead_letter).await else { return };
    let [theirs, ours] = letters.map(|mut letter| {
        let time = letter["CloudPubSubDeadLetterSourceTopicPublishTime"].take();
        assert!(time.is_string(), "{letter}");
        letter
    });
    assert_eq!(theirs, ours);
}

/// The attributes of the dead letter that the queue itself makes after five attempts.
async fn dead_letter(stack: &Stack) -> Value {
    let endpoint = Upstream::on_free_port();
    endpoint.program(|_| Some(Answer::status(500)));
    subscribe(stack, "failing", &endpoint.url()).await;
    stack.pubsub().create_pull_subscription("failed", DEAD_LETTER_TOPIC).await;
    stack.pubsub().publish("failing", b"fails-always", json!({"a": "b"})).await;
    let letter = stack.pubsub().pull_until("failed", "fails-always").await;
    assert_eq!((endpoint.requests().len(), &*letter.data), (5, &b"fails-always"[..]));
    Value::Object(letter.attributes)
}

/// A topic and a push subscription of the same name, with a dead-letter policy.
async fn subscribe(stack: &Stack, name: &str, endpoint: &str) {
    stack.pubsub().create_topic(name).await;
    let dead_letters = json!({"deadLetterTopic": topic_name(DEAD_LETTER_TOPIC), "maxDeliveryAttempts": 5});
    let settings = json!({
        "topic": topic_name(name),
        "pushConfig": {"pushEndpoint": endpoint},
        "deadLetterPolicy": dead_letters,
    });
    stack.pubsub().create_subscription(name, settings).await;
}
