//! The REST API's resources: topics, subscriptions, publishing, secrets, and how refusals look.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use axum::http::{Method, StatusCode};
use serde_json::{Value, json};
use support::{DEAD_TOPIC, Google, SUBSCRIPTION, TOPIC, base64, state_dir};

#[tokio::test]
async fn topics_are_created_once_listed_in_pages_and_deleted() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let created = api.must(Method::PUT, TOPIC, json!({ "labels": { "team": "a" } })).await;
    assert_eq!(created, json!({ "name": TOPIC, "labels": { "team": "a" } }));
    let again = api.call(Method::PUT, TOPIC, json!({})).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert_eq!(again.json()["error"]["status"], "ALREADY_EXISTS");
    assert_eq!(api.must(Method::GET, TOPIC, Value::Null).await, created);

    api.create_topic(DEAD_TOPIC).await;
    api.create_topic("projects/other/topics/orders").await;
    let first = api.must(Method::GET, "projects/test/topics?pageSize=1", Value::Null).await;
    assert_eq!(first["topics"], json!([{ "name": DEAD_TOPIC }]));
    let token = first["nextPageToken"].as_str().unwrap();
    let rest = format!("projects/test/topics?pageSize=1&pageToken={token}");
    assert_eq!(api.must(Method::GET, &rest, Value::Null).await, json!({ "topics": [created] }));

    api.subscribe(SUBSCRIPTION, TOPIC, json!({})).await;
    api.must(Method::DELETE, TOPIC, Value::Null).await;
    assert_eq!(api.call(Method::DELETE, TOPIC, Value::Null).await.status, StatusCode::NOT_FOUND);
    let orphan = api.must(Method::GET, SUBSCRIPTION, Value::Null).await;
    assert_eq!(orphan["topic"], "_deleted-topic_");
    google.stop().await;
}

#[tokio::test]
async fn refusals_have_googles_form() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let publish = format!("{TOPIC}:publish");
    let message = json!({ "messages": [{ "data": "eA==" }] });
    let absent = api.call(Method::POST, &publish, message).await;
    assert_eq!(absent.status, StatusCode::NOT_FOUND);
    let expected = json!({ "error": {
        "code": 404, "message": "Resource not found (resource=projects/test/topics/orders).", "status": "NOT_FOUND" } });
    assert_eq!(absent.json(), expected);

    api.create_topic(TOPIC).await;
    for (method, resource, body, status) in [
        (Method::POST, publish.as_str(), json!({ "messages": [{}] }), "INVALID_ARGUMENT"),
        (Method::POST, publish.as_str(), json!({ "messages": "x" }), "INVALID_ARGUMENT"),
        (Method::PUT, "projects/test/topics/ab", json!({}), "INVALID_ARGUMENT"),
        (Method::PUT, "projects/test/topics/goog-x", json!({}), "INVALID_ARGUMENT"),
        (Method::PUT, "projects/test/topics/abc", json!({ "nonsense": 1 }), "INVALID_ARGUMENT"),
        (Method::PUT, "projects/test/subscriptions/abc", json!({}), "INVALID_ARGUMENT"),
        (Method::PUT, "projects/test/subscriptions/abc", json!({ "topic": DEAD_TOPIC }), "NOT_FOUND"),
        (Method::GET, "projects/test/subscriptions/abc", Value::Null, "NOT_FOUND"),
        (Method::GET, "projects/test/schemas", Value::Null, "NOT_FOUND"),
        (Method::POST, TOPIC, json!({}), "NOT_FOUND"),
    ] {
        let answer = api.call(method, resource, body).await.json();
        assert_eq!(answer["error"]["status"], status, "{resource}: {answer}");
    }
    for authorization in ["", "Bearer nonsense", "Basic eA=="] {
        let answer =
            api.send(Method::GET, "/v1/projects/test/topics", &[("authorization", authorization)], "").await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
        assert_eq!(answer.json()["error"]["status"], "UNAUTHENTICATED");
    }
    google.stop().await;
}

#[tokio::test]
async fn a_subscription_shows_what_it_was_given_and_changes_only_what_the_mask_names() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    api.create_topic(TOPIC).await;
    api.create_topic(DEAD_TOPIC).await;
    let given = json!({
        "ackDeadlineSeconds": 600,
        "pushConfig": {
            "pushEndpoint": "http://127.0.0.1:9/wal-playback",
            "oidcToken": { "serviceAccountEmail": "push@test.example", "audience": "a" },
        },
        "retryPolicy": { "minimumBackoff": "10s", "maximumBackoff": "600s" },
        "deadLetterPolicy": { "deadLetterTopic": DEAD_TOPIC, "maxDeliveryAttempts": 100 },
        "retainAckedMessages": true,
        "messageRetentionDuration": "2678400s",
        "expirationPolicy": {},
    });
    let created = api.subscribe(SUBSCRIPTION, TOPIC, given.clone()).await;
    for (field, value) in given.as_object().unwrap() {
        assert_eq!(created[field], *value, "{field}");
    }
    let update = json!({ "subscription": { "ackDeadlineSeconds": 20, "labels": { "a": "b" } }, "updateMask": "ackDeadlineSeconds,retry_policy" });
    let updated = api.must(Method::PATCH, SUBSCRIPTION, update).await;
    assert_eq!(updated["ackDeadlineSeconds"], 20);
    assert_eq!(updated.get("retryPolicy"), None);
    assert_eq!(updated.get("labels"), None);
    assert_eq!(updated["deadLetterPolicy"], given["deadLetterPolicy"]);
    let topic = json!({ "subscription": { "topic": DEAD_TOPIC }, "updateMask": "topic" });
    assert_eq!(api.call(Method::PATCH, SUBSCRIPTION, topic).await.status, StatusCode::BAD_REQUEST);
    let again = api.call(Method::PUT, SUBSCRIPTION, json!({ "topic": TOPIC })).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    google.stop().await;

    let google = Google::start(state.path()).await;
    let api = &google.api;
    assert_eq!(api.must(Method::GET, SUBSCRIPTION, Value::Null).await, updated, "after a restart");
    let listed = api.must(Method::GET, "projects/test/subscriptions", Value::Null).await;
    assert_eq!(listed, json!({ "subscriptions": [updated] }));
    let of_topic = api.must(Method::GET, &format!("{TOPIC}/subscriptions"), Value::Null).await;
    assert_eq!(of_topic, json!({ "subscriptions": [SUBSCRIPTION] }));
    api.must(Method::DELETE, SUBSCRIPTION, Value::Null).await;
    assert_eq!(api.call(Method::GET, SUBSCRIPTION, Value::Null).await.status, StatusCode::NOT_FOUND);
    google.stop().await;
}

#[tokio::test]
async fn ten_megabytes_are_published_and_pulled_and_a_byte_more_is_not() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    api.create_topic(TOPIC).await;
    api.subscribe(SUBSCRIPTION, TOPIC, json!({})).await;
    let publish = format!("{TOPIC}:publish");
    let messages = |bytes: usize| json!({ "messages": [{ "data": base64(vec![7; bytes]) }] });
    api.must(Method::POST, &publish, messages(10_000_000)).await;
    let refused = api.call(Method::POST, &publish, messages(10_000_001)).await;
    assert_eq!(refused.status, StatusCode::BAD_REQUEST);
    let received = api.pull(SUBSCRIPTION, 10).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0]["message"]["data"], base64(vec![7; 10_000_000]));
    google.stop().await;
}

#[tokio::test]
async fn a_new_file_is_a_new_version_of_a_secret() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let access = async |version: &str| {
        api.call(Method::GET, &format!("projects/p/secrets/slack/versions/{version}:access"), Value::Null)
            .await
    };
    assert_eq!(access("latest").await.json()["error"]["status"], "NOT_FOUND");
    let directory = state.path().join("secrets/slack");
    std::fs::create_dir_all(&directory).unwrap();
    std::fs::write(directory.join("1"), [0xff, 0xfe, 0xfb]).unwrap();
    let expected = json!({ "name": "projects/p/secrets/slack/versions/1",
        "payload": { "data": "//77", "dataCrc32c": crc32c::crc32c(&[0xff, 0xfe, 0xfb]).to_string() } });
    assert_eq!(access("latest").await.json(), expected);
    assert_eq!(access("1").await.json(), expected);
    std::fs::write(directory.join("2"), "new").unwrap();
    assert_eq!(access("latest").await.json()["payload"]["data"], base64("new"));
    assert_eq!(access("3").await.status, StatusCode::NOT_FOUND);

    for path in ["..%2Fslack/versions/1", "%2E%2E/versions/1", "slack/versions/..%2F1", "slack/versions/0"] {
        let answer = api.call(Method::GET, &format!("projects/p/secrets/{path}:access"), Value::Null).await;
        assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}");
    }
    let path = "/v1/projects/p/secrets/slack/versions/1:access";
    assert_eq!(api.send(Method::GET, path, &[], "").await.status, StatusCode::UNAUTHORIZED);
    google.stop().await;
}
