//! Pulling: leases, acknowledgements, giving back, dead letters, and going back in time.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{DEAD_SUBSCRIPTION, DEAD_TOPIC, Google, TOPIC, base64, state_dir};

const PULLED: &str = "projects/test/subscriptions/orders-pull";

async fn modify(google: &Google, received: &[Value], seconds: i64) {
    let ack_ids: Vec<&Value> = received.iter().map(|message| &message["ackId"]).collect();
    let body = json!({ "ackIds": ack_ids, "ackDeadlineSeconds": seconds });
    google.api.must(Method::POST, &format!("{PULLED}:modifyAckDeadline"), body).await;
}

#[tokio::test]
async fn a_leased_message_is_not_given_to_another_until_it_is_given_back() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    api.create_topic(TOPIC).await;
    api.subscribe(PULLED, TOPIC, json!({})).await;
    let (waiting, ids) = tokio::join!(api.pull(PULLED, 10), api.publish(TOPIC, &["x"]));
    assert_eq!(waiting[0]["message"]["messageId"], ids[0], "a waiting pull is answered by the publish");
    assert_eq!(waiting[0]["message"]["data"], base64("x"));
    assert!(api.pull_now(PULLED).await.is_empty());

    modify(&google, &waiting, 0).await;
    let again = api.pull(PULLED, 10).await;
    assert_eq!(again[0]["message"]["messageId"], ids[0]);
    // The first lease has ended: its holder can no longer give the message back.
    modify(&google, &waiting, 0).await;
    assert!(api.pull_now(PULLED).await.is_empty());

    api.acknowledge(PULLED, &again).await;
    modify(&google, &again, 0).await;
    assert!(api.pull_now(PULLED).await.is_empty());
    google.stop().await;
}

#[tokio::test]
async fn a_lease_outlives_a_restart_and_so_does_an_acknowledgement() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    google.api.create_topic(TOPIC).await;
    google.api.subscribe(PULLED, TOPIC, json!({ "ackDeadlineSeconds": 600 })).await;
    google.api.publish(TOPIC, &["x", "y", "z"]).await;
    let first = google.api.pull(PULLED, 1).await;
    let second = google.api.pull(PULLED, 1).await;
    google.api.acknowledge(PULLED, &first).await;
    google.stop().await;

    let google = Google::start(state.path()).await;
    let third = google.api.pull(PULLED, 10).await;
    assert_eq!(third.len(), 1);
    assert_eq!(third[0]["message"]["data"], base64("z"));
    google.api.acknowledge(PULLED, &second).await;
    google.stop().await;
}

#[tokio::test]
async fn a_message_given_back_too_often_moves_to_the_dead_letters() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    api.create_topic(TOPIC).await;
    api.create_topic(DEAD_TOPIC).await;
    api.subscribe(DEAD_SUBSCRIPTION, DEAD_TOPIC, json!({})).await;
    let fields = json!({
        "deadLetterPolicy": { "deadLetterTopic": DEAD_TOPIC },
        "retryPolicy": { "minimumBackoff": "0s", "maximumBackoff": "0s" },
    });
    api.subscribe(PULLED, TOPIC, fields).await;
    api.publish(TOPIC, &["poison"]).await;
    for attempt in 1..=5 {
        let received = api.pull(PULLED, 10).await;
        assert_eq!(received[0]["deliveryAttempt"], attempt);
        modify(&google, &received, 0).await;
    }
    let give_up = async {
        api.pull(PULLED, 10).await;
        panic!("a sixth attempt was made");
    };
    let dead = tokio::select! {
        dead = api.pull(DEAD_SUBSCRIPTION, 10) => dead,
        () = give_up => unreachable!(),
    };
    assert_eq!(dead[0]["message"]["data"], base64("poison"));
    google.stop().await;
}

#[tokio::test]
async fn seek_brings_back_what_was_retained_and_ends_what_is_older() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let forgetful = "projects/test/subscriptions/forgetful";
    api.create_topic(TOPIC).await;
    api.subscribe(PULLED, TOPIC, json!({ "retainAckedMessages": true })).await;
    api.subscribe(forgetful, TOPIC, json!({})).await;
    api.publish(TOPIC, &["x", "y"]).await;
    for subscription in [PULLED, forgetful] {
        let received = api.pull(subscription, 10).await;
        assert_eq!(received.len(), 2);
        api.acknowledge(subscription, &received).await;
    }
    let seek = async |subscription: &str, time: &str| {
        api.must(Method::POST, &format!("{subscription}:seek"), json!({ "time": time })).await;
        api.pull_now(subscription).await.len()
    };
    assert_eq!(seek(PULLED, "2020-01-01T00:00:00Z").await, 2);
    assert_eq!(seek(forgetful, "2020-01-01T00:00:00Z").await, 0);
    assert_eq!(seek(PULLED, "2100-01-01T00:00:00Z").await, 0);
    assert_eq!(seek(PULLED, "2020-01-01T00:00:00Z").await, 2, "what a seek ended is retained too");
    google.stop().await;
}

#[tokio::test]
async fn a_stop_answers_those_who_wait() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    google.api.create_topic(TOPIC).await;
    google.api.subscribe(PULLED, TOPIC, json!({})).await;
    let api = google.api.clone();
    let body = json!({ "maxMessages": 1 });
    let waiting = tokio::spawn(async move { api.must(Method::POST, &format!("{PULLED}:pull"), body).await });
    // Answered after the pull: both go through the same thread of the store.
    google.api.publish(TOPIC, &["x"]).await;
    google.api.pull_now(PULLED).await;
    let started = tokio::time::Instant::now();
    google.stop().await;
    waiting.await.unwrap();
    assert!(started.elapsed() < std::time::Duration::from_secs(4));
}

#[tokio::test]
async fn calls_that_make_no_sense_are_refused() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    api.create_topic(TOPIC).await;
    api.subscribe(PULLED, TOPIC, json!({})).await;
    let pushed = "projects/test/subscriptions/pushed";
    let push = json!({ "pushConfig": { "pushEndpoint": "http://127.0.0.1:9/" } });
    api.subscribe(pushed, TOPIC, push).await;
    let cases = [
        (format!("{PULLED}:pull"), json!({ "maxMessages": 0 }), 400),
        (format!("{PULLED}:pull"), json!({ "maxMessages": -1 }), 400),
        (format!("{PULLED}:pull"), json!({}), 400),
        (format!("{pushed}:pull"), json!({ "maxMessages": 1 }), 400),
        ("projects/test/subscriptions/absent:pull".to_owned(), json!({ "maxMessages": 1 }), 404),
        (format!("{PULLED}:acknowledge"), json!({ "ackIds": [] }), 400),
        (format!("{PULLED}:acknowledge"), json!({ "ackIds": ["nonsense"] }), 400),
        (
            format!("{PULLED}:modifyAckDeadline"),
            json!({ "ackIds": ["MS4x"], "ackDeadlineSeconds": 601 }),
            400,
        ),
        (format!("{PULLED}:seek"), json!({ "time": "yesterday" }), 400),
        (format!("{PULLED}:seek"), json!({}), 400),
        (format!("{PULLED}:seek"), json!({ "snapshot": "projects/test/snapshots/abc" }), 501),
        (format!("{PULLED}:detach"), json!({}), 404),
    ];
    for (resource, body, status) in cases {
        let answer = api.call(Method::POST, &resource, body.clone()).await;
        assert_eq!(answer.status, StatusCode::from_u16(status).unwrap(), "{resource} {body}");
    }
    google.stop().await;
}
