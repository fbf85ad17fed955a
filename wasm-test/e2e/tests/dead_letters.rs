//! Delivered, or kept where it can be seen and replayed; never dropped, and never in the way.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lockgate_e2e::pubsub::topic_name;
use lockgate_e2e::stack::{DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC, LOG_KEY, TOPIC};
use lockgate_e2e::{Answer, Envelope, Fault, Request, Shared, Stack};
use serde_json::{Value, json};
use tokio::sync::OnceCell;

async fn stack() -> Shared {
    static STACK: OnceCell<Stack> = OnceCell::const_new();
    Shared::of(&STACK, Stack::builder()).await
}

#[tokio::test]
async fn a_message_that_is_no_envelope_is_buried_with_its_very_bytes() {
    let stack = stack().await;
    let odd = |marker: &str| Envelope::new(marker, "POST", "/poison").body("x");
    let sealed = odd("poison-seal").sealed(LOG_KEY);
    let mut changed = sealed.clone();
    *changed.last_mut().unwrap() = b'y';
    let unsealed = odd("poison-unsealed").unsealed();
    for (marker, data, reason) in [
        ("poison-text", b"poison-text".to_vec(), "not_an_envelope"),
        ("poison-json", br#"{"poison-json":1}"#.to_vec(), "not_an_envelope"),
        ("poison-headers", odd("poison-headers").field("headers", "x").sealed(LOG_KEY), "not_an_envelope"),
        ("poison-version", odd("poison-version").field("v", "1").sealed(LOG_KEY), "not_an_envelope"),
        ("poison-method", odd("poison-method").field("method", 5).sealed(LOG_KEY), "not_an_envelope"),
        ("poison-binary", b"\x00\xff\xfepoison-binary\n\x00".to_vec(), "not_an_envelope"),
        ("poison-unsealed", unsealed, "not_sealed"),
        ("poison-seal", changed, "bad_seal"),
    ] {
        let before = stack.upstream().requests().len();
        assert_eq!(stack.push_data(&data).await.status, 204, "{marker}");
        let letter = stack.dead_letters().wait_for(marker).await;
        assert_eq!(letter.data, data, "{marker}");
        assert_eq!(letter.attribute("lockgate_reason"), Some(reason), "{marker}");
        assert!(stack.upstream().requests().since(before).iter().all(|request| !request.contains(marker)));
    }
}

#[tokio::test]
async fn a_refused_message_keeps_its_attributes_and_can_be_replayed_as_it_is() {
    let stack = stack().await;
    let answers = [Answer::status(404), Answer::status(200)];
    stack.upstream().program_in_turn(|request| request.path() == "/refused-once", answers);
    let request = Request::post("/wal/refused-once", "text/plain", "x").header("idempotency-key", "own-id");
    let answer = stack.client().send(&request).await;
    let letter = stack.dead_letters().wait_for("/refused-once").await;
    let stored = &stack.stored("/refused-once")[0];
    assert_eq!(letter.data, stored.data);
    for (name, value) in &stored.attributes {
        assert_eq!(letter.attributes.get(name), Some(value), "{name}");
    }
    assert_eq!(letter.attribute("lockgate_reason"), Some("upstream_status"));
    assert_eq!(letter.attribute("lockgate_status"), Some("404"));
    assert_eq!(letter.attribute("lockgate_attempt"), stack.counts_attempts().then_some("1"));

    stack.pubsub().publish(TOPIC, &letter.data, Value::Object(letter.attributes)).await;
    let requests = stack.upstream().requests();
    let both = requests.wait_for("the replay", 2, |request| request.path() == "/refused-once").await;
    let id = answer.json()["id"].as_str().unwrap().to_owned();
    assert!(both.iter().all(|request| request.headers.text("webhook-id").as_ref() == Some(&id)));
}

#[tokio::test]
async fn what_cannot_be_buried_stays_in_the_queue() {
    // Its own: publishes share a call, so a fault meant for one would meet what goes with it.
    let stack = Stack::builder().start().await;
    let failing = Arc::new(AtomicBool::new(true));
    let fails = Arc::clone(&failing);
    let topic = format!("/v1/{}:publish", topic_name(DEAD_LETTER_TOPIC));
    stack.proxy().program(move |call| {
        let concerned = call.path() == topic && lockgate_e2e::pubsub::published(call)[0].contains("unburied");
        (concerned && fails.load(Ordering::SeqCst)).then_some(Fault::Refused(503))
    });
    stack.upstream().program(|request| (request.path() == "/unburied").then(|| Answer::status(410)));
    let data = Envelope::new("unburied-1", "POST", "/x").body("x").unsealed();
    assert_eq!(stack.push_data(&data).await.status, 503);
    assert_eq!(stack.client().send(&Request::post("/wal/unburied", "text/plain", "x")).await.status, 202);
    let again = |all: &[lockgate_e2e::Recorded]| all.iter().filter(|r| r.path() == "/unburied").count() >= 2;
    assert!(stack.upstream().requests().reaches(lockgate_e2e::journal::PATIENCE, again).await);
    failing.store(false, Ordering::SeqCst);
    stack.dead_letters().wait_for("/unburied").await;
}

#[tokio::test]
async fn a_poisonous_message_does_not_hold_up_those_behind_it() {
    let stack = stack().await;
    stack.upstream().program(|request| (request.path() == "/poisonous").then(|| Answer::status(422)));
    for _ in 0..5 {
        stack.client().send(&Request::post("/wal/poisonous", "text/plain", "x")).await;
    }
    stack.client().send(&Request::post("/wal/behind-it", "text/plain", "x")).await;
    stack.delivered("/behind-it").await;
    stack.dead_letters().wait_for("/poisonous").await;
}

#[tokio::test]
async fn what_fails_again_and_again_is_buried_by_the_queue_itself() {
    let stack = Stack::builder().max_delivery_attempts(5).start().await;
    stack.upstream().program(|request| (request.path() == "/always-500").then(|| Answer::status(500)));
    assert_eq!(stack.client().send(&Request::post("/wal/always-500", "text/plain", "x")).await.status, 202);
    let letter = stack.dead_letters().wait_for("/always-500").await;
    let stored = &stack.stored("/always-500")[0];
    assert_eq!(letter.data, stored.data);
    let attempts = stack.upstream().requests().matching(|request| request.path() == "/always-500");
    assert_eq!(attempts.len(), 5);
    let numbers = attempts.iter().map(|request| request.headers.text("x-lockgate-delivery-attempt"));
    let expected: Vec<_> =
        (1..=5).map(|number| stack.counts_attempts().then(|| number.to_string())).collect();
    assert_eq!(numbers.collect::<Vec<_>>(), expected);

    let kept = stack.pubsub().drain(DEAD_LETTER_SUBSCRIPTION).await;
    assert_eq!(kept.iter().map(|message| &message.data).collect::<Vec<_>>(), [&letter.data]);
    assert_eq!(kept[0].envelope()["path"], json!("/always-500"));
}
