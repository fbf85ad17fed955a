//! Push delivery, as an endpoint sees it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

mod support;

use std::collections::HashSet;

use axum::http::Method;
use jwt_simple::prelude::*;
use serde_json::{Map, Value, json};
use support::endpoint::Endpoint;
use support::{
    DEAD_SUBSCRIPTION, DEAD_TOPIC, Google, SUBSCRIPTION, TOPIC, any_port, base64, soon, state_dir,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket};

#[tokio::test]
async fn a_push_is_wrapped_and_carries_a_token_for_its_audience() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let mut endpoint = Endpoint::start().await;
    api.create_topic(TOPIC).await;
    let token = json!({ "serviceAccountEmail": "push@test.example", "audience": "https://door.example/wal-playback" });
    let config = json!({ "pushEndpoint": endpoint.url(), "oidcToken": token });
    api.subscribe(SUBSCRIPTION, TOPIC, json!({ "pushConfig": config })).await;
    let message = json!({ "data": "AP8=", "attributes": { "kind": "command" } });
    let published =
        api.must(Method::POST, &format!("{TOPIC}:publish"), json!({ "messages": [message] })).await;

    let push = endpoint.next().await;
    let message = &push.body["message"];
    assert_eq!(push.headers["content-type"], "application/json");
    assert_eq!(push.body["subscription"], SUBSCRIPTION);
    assert_eq!(push.body.get("deliveryAttempt"), None, "there is no dead-letter policy");
    assert_eq!(message["data"], "AP8=");
    assert_eq!(message["attributes"], json!({ "kind": "command" }));
    assert_eq!(message["messageId"], published["messageIds"][0]);
    assert_eq!(message["message_id"], message["messageId"]);
    assert_eq!(message["publish_time"], message["publishTime"]);

    let certs = api.send(Method::GET, "/oauth2/v3/certs", &[], "").await.json();
    let key = RS256PublicKey::from_jwk(&certs["keys"][0].to_string()).unwrap();
    let authorization = push.headers["authorization"].to_str().unwrap();
    let token = authorization.strip_prefix("Bearer ").unwrap();
    let claims = key.verify_token::<Map<String, Value>>(token, None).unwrap();
    assert_eq!(Token::decode_metadata(token).unwrap().key_id(), certs["keys"][0]["kid"].as_str());
    assert_eq!(claims.issuer, Some(format!("http://{}", api.address)));
    assert_eq!(claims.audiences.unwrap().into_string().unwrap(), "https://door.example/wal-playback");
    assert_eq!(claims.custom["email"], "push@test.example");
    assert_eq!(claims.custom["email_verified"], true);
    assert_eq!(claims.custom["azp"].as_str(), claims.subject.as_deref());
    assert_eq!(claims.expires_at.unwrap().as_secs() - claims.issued_at.unwrap().as_secs(), 3600);
    push.answer(204);
    google.stop().await;
}

#[tokio::test]
async fn only_five_statuses_acknowledge() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let mut endpoint = Endpoint::start().await;
    api.create_topic(TOPIC).await;
    api.subscribe(SUBSCRIPTION, TOPIC, endpoint.push_config()).await;
    for acknowledges in [200, 201, 202, 204] {
        let ids = api.publish(TOPIC, &["x"]).await;
        let push = endpoint.next().await;
        assert_eq!(push.message_id(), ids[0], "the one before was acknowledged");
        push.answer(acknowledges);
    }
    for refuses in [203, 206, 301, 400, 401, 404, 429, 500, 503] {
        let ids = api.publish(TOPIC, &["x"]).await;
        endpoint.next().await.answer(refuses);
        let again = endpoint.next().await;
        assert_eq!(again.message_id(), ids[0], "{refuses} is followed by another attempt");
        again.answer(200);
    }
    google.stop().await;
}

#[tokio::test]
async fn processing_acknowledges_without_a_final_answer() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let listener = TcpListener::bind(any_port()).await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    api.create_topic(TOPIC).await;
    let fields = json!({ "pushConfig": { "pushEndpoint": url }, "ackDeadlineSeconds": 600 });
    api.subscribe(SUBSCRIPTION, TOPIC, fields).await;
    let ids = api.publish(TOPIC, &["x"]).await;
    let (mut connection, _) = soon("a connection", listener.accept()).await.unwrap();
    let mut request = [0; 4096];
    assert!(connection.read(&mut request).await.unwrap() > 0);
    connection.write_all(b"HTTP/1.1 102 Processing\r\n\r\n").await.unwrap();

    // The push connection is given up once the message is acknowledged.
    while soon("the end of the push", connection.read(&mut request)).await.unwrap_or(0) > 0 {}
    let config = json!({ "pushConfig": {} });
    api.must(Method::POST, &format!("{SUBSCRIPTION}:modifyPushConfig"), config).await;
    assert_eq!(api.pull_now(SUBSCRIPTION).await, Vec::<Value>::new(), "{ids:?} was acknowledged");
    google.stop().await;
}

#[tokio::test]
async fn after_the_last_attempt_the_message_moves_to_the_dead_letters() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let mut endpoint = Endpoint::start().await;
    api.create_topic(TOPIC).await;
    api.create_topic(DEAD_TOPIC).await;
    api.subscribe(DEAD_SUBSCRIPTION, DEAD_TOPIC, json!({})).await;
    let fields = json!({
        "pushConfig": { "pushEndpoint": endpoint.url() },
        "deadLetterPolicy": { "deadLetterTopic": DEAD_TOPIC, "maxDeliveryAttempts": 5 },
        "retryPolicy": { "minimumBackoff": "0.1s", "maximumBackoff": "0.1s" },
    });
    api.subscribe(SUBSCRIPTION, TOPIC, fields).await;
    let message = json!({ "data": base64("poison"), "attributes": { "a": "b" } });
    api.must(Method::POST, &format!("{TOPIC}:publish"), json!({ "messages": [message] })).await;
    for attempt in 1..=5 {
        let push = endpoint.next().await;
        assert_eq!(push.body["deliveryAttempt"], attempt);
        push.answer(500);
    }
    let dead = api.pull(DEAD_SUBSCRIPTION, 10).await;
    assert_eq!(dead.len(), 1);
    let message = &dead[0]["message"];
    assert_eq!(message["data"], base64("poison"));
    let attributes = message["attributes"].as_object().unwrap();
    assert_eq!(attributes["a"], "b");
    assert_eq!(attributes["CloudPubSubDeadLetterSourceDeliveryCount"], "5");
    assert_eq!(attributes["CloudPubSubDeadLetterSourceSubscription"], "orders-push");
    assert_eq!(attributes["CloudPubSubDeadLetterSourceSubscriptionProject"], "test");
    assert!(attributes["CloudPubSubDeadLetterSourceTopicPublishTime"].as_str().unwrap().ends_with("+00:00"));
    assert_eq!(dead[0].get("deliveryAttempt"), None);
    google.stop().await;
}

#[tokio::test]
async fn a_message_published_while_the_endpoint_was_absent_arrives_when_it_is_back() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let absent = TcpSocket::new_v4().unwrap();
    absent.set_reuseaddr(true).unwrap();
    absent.bind(any_port()).unwrap();
    let address = absent.local_addr().unwrap();
    api.create_topic(TOPIC).await;
    let config = json!({ "pushEndpoint": format!("http://{address}/") });
    api.subscribe(SUBSCRIPTION, TOPIC, json!({ "pushConfig": config })).await;
    let texts: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    let mut expected: HashSet<String> = api.publish(TOPIC, &texts).await.into_iter().collect();
    let mut endpoint = Endpoint::start_on(absent.listen(1024).unwrap());
    while !expected.is_empty() {
        let push = endpoint.next().await;
        expected.remove(&push.message_id());
        push.answer(200);
    }
    google.stop().await;
}

#[tokio::test]
async fn a_connection_that_the_endpoint_closed_costs_no_attempt() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let listener = TcpListener::bind(any_port()).await.unwrap();
    api.create_topic(TOPIC).await;
    api.create_topic(DEAD_TOPIC).await;
    let fields = json!({
        "pushConfig": { "pushEndpoint": format!("http://{}/", listener.local_addr().unwrap()) },
        "deadLetterPolicy": { "deadLetterTopic": DEAD_TOPIC },
        "retryPolicy": { "minimumBackoff": "600s", "maximumBackoff": "600s" },
    });
    api.subscribe(SUBSCRIPTION, TOPIC, fields).await;
    let mut request = [0; 4096];
    let answer = b"HTTP/1.1 204 No Content\r\n\r\n";

    api.publish(TOPIC, &["first"]).await;
    let (mut kept, _) = soon("a connection", listener.accept()).await.unwrap();
    assert!(kept.read(&mut request).await.unwrap() > 0);
    kept.write_all(answer).await.unwrap();

    // The second request is read from the kept connection, and the connection dies instead of answering.
    api.publish(TOPIC, &["second"]).await;
    assert!(soon("the second push", kept.read(&mut request)).await.unwrap() > 0);
    drop(kept);
    let (mut fresh, _) = soon("a new connection", listener.accept()).await.unwrap();
    let read = fresh.read(&mut request).await.unwrap();
    let text = String::from_utf8_lossy(&request[..read]).into_owned();
    assert!(text.contains(&base64("second")) && text.contains("\"deliveryAttempt\":1"), "{text}");
    fresh.write_all(answer).await.unwrap();
    google.stop().await;
}

#[tokio::test]
async fn pushes_in_progress_are_bounded() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let api = &google.api;
    let mut endpoint = Endpoint::start().await;
    api.create_topic(TOPIC).await;
    api.subscribe(SUBSCRIPTION, TOPIC, endpoint.push_config()).await;
    api.publish(TOPIC, &["x"; 100]).await;
    let mut waiting = Vec::new();
    for _ in 0..64 {
        waiting.push(endpoint.next().await);
    }
    // Another subscription's push shows that the first had its chance to send more.
    let mut other = Endpoint::start().await;
    api.subscribe("projects/test/subscriptions/other", TOPIC, other.push_config()).await;
    api.publish(TOPIC, &["y"]).await;
    other.next().await.answer(200);
    assert!(endpoint.is_idle(), "a 65th push was made");
    let mut seen: HashSet<String> = HashSet::new();
    for push in waiting {
        seen.insert(push.message_id());
        push.answer(200);
    }
    while seen.len() < 101 {
        let push = endpoint.next().await;
        assert!(seen.insert(push.message_id()), "delivered twice");
        push.answer(200);
    }
    google.stop().await;
}

#[tokio::test]
async fn a_changed_endpoint_takes_over_and_a_restart_goes_on() {
    let state = state_dir();
    let google = Google::start(state.path()).await;
    let mut first = Endpoint::start().await;
    let mut second = Endpoint::start().await;
    google.api.create_topic(TOPIC).await;
    google.api.subscribe(SUBSCRIPTION, TOPIC, first.push_config()).await;
    let ids = google.api.publish(TOPIC, &["x"]).await;
    let refused = first.next().await;
    let patch = json!({ "subscription": second.push_config(), "updateMask": "pushConfig" });
    google.api.must(Method::PATCH, SUBSCRIPTION, patch).await;
    refused.answer(503);
    let interrupted = second.next().await;
    assert_eq!(interrupted.message_id(), ids[0]);
    google.stop().await;

    let google = Google::start(state.path()).await;
    let again = second.next().await;
    assert_eq!(again.message_id(), ids[0], "an unanswered push is made again by the next server");
    again.answer(200);
    google.api.publish(TOPIC, &["y"]).await;
    assert_ne!(second.next().await.message_id(), ids[0]);
    google.stop().await;
}
