//! The stand-in against the emulator, call by call: they may differ only where it is known and why.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use lockgate_e2e::{Answer, Client, Request, Response, Stack, Upstream};
use serde_json::{Value, json};

use super::{EMULATOR, STAND_IN};

/// What the two may disagree on, and who is right by Google's documentation.
const KNOWN: &[(&str, &str)] = &[];

#[tokio::test]
async fn calls_are_answered_alike() {
    let Some(emulator) = EMULATOR.stack().await else { return };
    let stand_in = STAND_IN.stack().await.expect("the stand-in is always there");
    let (theirs, ours) = tokio::join!(answers(&emulator), answers(&stand_in));
    for ((what, their), (_, our)) in theirs.iter().zip(&ours) {
        if their != our {
            println!("{what}\n    emulator {their}\n    stand-in {our}");
        }
    }
}

async fn answers(stack: &Stack) -> Vec<(&'static str, Value)> {
    let client = Client::new(stack.google_address());
    let token = format!("Bearer {}", stack.pubsub().access_token().await);
    let mut answers = Vec::new();
    let mut ack_ids = Value::Null;
    for (what, call, body) in calls() {
        let body = match what {
            "acknowledge" | "acknowledge again" => json!({"ackIds": ack_ids}),
            _ => body,
        };
        let (method, resource) = call.split_once(' ').unwrap();
        let request = Request::new(method, &format!("/v1/projects/calls/{resource}"))
            .header("authorization", &token)
            .header("content-type", "application/json");
        let request = match &body {
            Value::Null => request,
            Value::String(text) => request.body(text.as_str()),
            body => request.body(body.to_string()),
        };
        let answer = client.send(&request).await;
        if what == "pull" {
            ack_ids = answer.json()["receivedMessages"]
                .as_array()
                .unwrap()
                .iter()
                .map(|m| m["ackId"].clone())
                .collect();
        }
        answers.push((what, essence(&answer)));
    }
    answers
}

/// An answer without what is each server's own to choose: wording, ids, times.
fn essence(answer: &Response) -> Value {
    let mut body = serde_json::from_slice(&answer.body).unwrap_or(json!(answer.text()));
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("message");
    }
    hide(&mut body);
    json!([answer.status, body])
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                match &**name {
                    "messageId" | "message_id" | "ackId" | "publishTime" | "publish_time"
                    | "nextPageToken" => *value = json!("…"),
                    "messageIds" => *value = json!(value.as_array().map(Vec::len)),
                    _ => hide(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        _ => {}
    }
}

fn calls() -> Vec<(&'static str, &'static str, Value)> {
    let publish = |what, message: Value| (what, "POST topics/log:publish", json!({"messages": [message]}));
    let with = |name: &str, value: Value| {
        let mut s = json!({"topic": "projects/calls/topics/log"});
        s[name] = value;
        s
    };
    vec![
        ("create a topic", "PUT topics/log", json!({})),
        ("create it again", "PUT topics/log", json!({})),
        ("create a topic with labels", "PUT topics/dead", json!({"labels": {"a": "b"}})),
        ("create a topic without a body", "PUT topics/bodiless", Value::Null),
        ("read a topic", "GET topics/dead", Value::Null),
        ("read a topic that is missing", "GET topics/missing", Value::Null),
        ("list topics", "GET topics", Value::Null),
        ("list topics, one at a time", "GET topics?pageSize=1", Value::Null),
        ("a short topic name", "PUT topics/ab", json!({})),
        ("a reserved topic name", "PUT topics/goog-x", json!({})),
        ("an unknown field of a topic", "PUT topics/odd", json!({"nonsense": 1})),
        (
            "create a subscription",
            "PUT subscriptions/pulled",
            json!({"topic": "projects/calls/topics/log", "retainAckedMessages": true}),
        ),
        ("create that again", "PUT subscriptions/pulled", with("labels", json!({}))),
        (
            "create a push subscription",
            "PUT subscriptions/pushed",
            json!({
                "topic": "projects/calls/topics/dead", "ackDeadlineSeconds": 600,
                "pushConfig": {"pushEndpoint": "http://127.0.0.1:9/"},
                "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
                "deadLetterPolicy": {"deadLetterTopic": "projects/calls/topics/dead", "maxDeliveryAttempts": 100},
                "messageRetentionDuration": "2678400s", "expirationPolicy": {},
            }),
        ),
        ("a subscription without a topic", "PUT subscriptions/without", json!({})),
        (
            "a subscription to a missing topic",
            "PUT subscriptions/without",
            json!({"topic": "projects/calls/topics/missing"}),
        ),
        ("an ack deadline too long", "PUT subscriptions/bad", with("ackDeadlineSeconds", json!(601))),
        ("an ack deadline too short", "PUT subscriptions/bad1", with("ackDeadlineSeconds", json!(9))),
        (
            "too few delivery attempts",
            "PUT subscriptions/bad2",
            with(
                "deadLetterPolicy",
                json!({"deadLetterTopic": "projects/calls/topics/dead", "maxDeliveryAttempts": 4}),
            ),
        ),
        (
            "too many delivery attempts",
            "PUT subscriptions/bad3",
            with(
                "deadLetterPolicy",
                json!({"deadLetterTopic": "projects/calls/topics/dead", "maxDeliveryAttempts": 101}),
            ),
        ),
        (
            "default delivery attempts",
            "PUT subscriptions/bad4",
            with("deadLetterPolicy", json!({"deadLetterTopic": "projects/calls/topics/dead"})),
        ),
        (
            "a missing dead-letter topic",
            "PUT subscriptions/bad5",
            with("deadLetterPolicy", json!({"deadLetterTopic": "projects/calls/topics/missing"})),
        ),
        (
            "a back-off too long",
            "PUT subscriptions/bad6",
            with("retryPolicy", json!({"minimumBackoff": "601s"})),
        ),
        ("a back-off without numbers", "PUT subscriptions/bad7", with("retryPolicy", json!({}))),
        (
            "a retention too long",
            "PUT subscriptions/bad8",
            with("messageRetentionDuration", json!("2678401s")),
        ),
        ("a retention too short", "PUT subscriptions/bad9", with("messageRetentionDuration", json!("599s"))),
        ("read a subscription", "GET subscriptions/pulled", Value::Null),
        ("read a missing subscription", "GET subscriptions/missing", Value::Null),
        ("list a topic's subscriptions", "GET topics/dead/subscriptions", Value::Null),
        (
            "update",
            "PATCH subscriptions/pulled",
            json!({"subscription": {"ackDeadlineSeconds": 20, "labels": {"a": "b"}}, "updateMask": "ackDeadlineSeconds"}),
        ),
        (
            "update what is fixed",
            "PATCH subscriptions/pulled",
            json!({"subscription": {"topic": "projects/calls/topics/dead"}, "updateMask": "topic"}),
        ),
        ("update nothing", "PATCH subscriptions/pulled", json!({"subscription": {"ackDeadlineSeconds": 20}})),
        (
            "update a missing subscription",
            "PATCH subscriptions/missing",
            json!({"subscription": {"ackDeadlineSeconds": 20}, "updateMask": "ackDeadlineSeconds"}),
        ),
        (
            "publish",
            "POST topics/log:publish",
            json!({"messages": [
            {"data": "eA==", "attributes": {"a": "b"}}, {"data": "eA=="}, {"attributes": {"a": "b"}}]}),
        ),
        (
            "publish to a missing topic",
            "POST topics/missing:publish",
            json!({"messages": [{"data": "eA=="}]}),
        ),
        ("publish nothing", "POST topics/log:publish", json!({"messages": []})),
        ("publish without messages", "POST topics/log:publish", json!({})),
        publish("publish an empty message", json!({})),
        publish("publish what is no base64", json!({"data": "!!!"})),
        publish("publish base64 without padding", json!({"data": "eA"})),
        publish("publish URL-safe base64", json!({"data": "_-8="})),
        publish("publish a number as data", json!({"data": 1})),
        publish("publish a number as an attribute", json!({"data": "eA==", "attributes": {"a": 1}})),
        publish("publish an unknown field", json!({"data": "eA==", "nonsense": 1})),
        publish("publish with an id", json!({"data": "eA==", "messageId": "7"})),
        publish("publish a long attribute", json!({"data": "eA==", "attributes": {"a": "v".repeat(1025)}})),
        publish(
            "publish a long attribute's key",
            json!({"data": "eA==", "attributes": {"a".repeat(257): "v"}}),
        ),
        publish("publish an empty attribute's key", json!({"data": "eA==", "attributes": {"": "v"}})),
        publish("publish a reserved attribute", json!({"data": "eA==", "attributes": {"goog-x": "v"}})),
        publish(
            "publish too many attributes",
            json!({"data": "eA==", "attributes": (0..101).map(|n| (format!("a{n}"), json!("v"))).collect::<serde_json::Map<_, _>>()}),
        ),
        publish("publish ten megabytes and a byte", json!({"data": STANDARD.encode(vec![7; 10_000_001])})),
        (
            "publish too many messages",
            "POST topics/log:publish",
            json!({"messages": vec![json!({"data": "eA=="}); 1001]}),
        ),
        ("publish what is no JSON", "POST topics/log:publish", json!("{nonsense")),
        ("pull", "POST subscriptions/pulled:pull", json!({"maxMessages": 3, "returnImmediately": true})),
        (
            "pull nothing",
            "POST subscriptions/pulled:pull",
            json!({"maxMessages": 0, "returnImmediately": true}),
        ),
        (
            "pull less than nothing",
            "POST subscriptions/pulled:pull",
            json!({"maxMessages": -1, "returnImmediately": true}),
        ),
        ("pull without a number", "POST subscriptions/pulled:pull", json!({"returnImmediately": true})),
        (
            "pull from a missing subscription",
            "POST subscriptions/missing:pull",
            json!({"maxMessages": 1, "returnImmediately": true}),
        ),
        (
            "pull from a push subscription",
            "POST subscriptions/pushed:pull",
            json!({"maxMessages": 1, "returnImmediately": true}),
        ),
        ("acknowledge", "POST subscriptions/pulled:acknowledge", Value::Null),
        ("acknowledge again", "POST subscriptions/pulled:acknowledge", Value::Null),
        ("acknowledge nonsense", "POST subscriptions/pulled:acknowledge", json!({"ackIds": ["nonsense"]})),
        ("acknowledge nothing", "POST subscriptions/pulled:acknowledge", json!({"ackIds": []})),
        (
            "acknowledge to a missing subscription",
            "POST subscriptions/missing:acknowledge",
            json!({"ackIds": ["nonsense"]}),
        ),
        (
            "extend nonsense",
            "POST subscriptions/pulled:modifyAckDeadline",
            json!({"ackIds": ["nonsense"], "ackDeadlineSeconds": 0}),
        ),
        ("seek into the future", "POST subscriptions/pulled:seek", json!({"time": "2100-01-01T00:00:00Z"})),
        (
            "pull after it",
            "POST subscriptions/pulled:pull",
            json!({"maxMessages": 3, "returnImmediately": true}),
        ),
        ("seek into the past", "POST subscriptions/pulled:seek", json!({"time": "2020-01-01T00:00:00Z"})),
        (
            "pull again",
            "POST subscriptions/pulled:pull",
            json!({"maxMessages": 3, "returnImmediately": true}),
        ),
        ("seek to nothing", "POST subscriptions/pulled:seek", json!({})),
        ("seek to nonsense", "POST subscriptions/pulled:seek", json!({"time": "yesterday"})),
        (
            "seek to a snapshot",
            "POST subscriptions/pulled:seek",
            json!({"snapshot": "projects/calls/snapshots/missing"}),
        ),
        (
            "seek in a missing subscription",
            "POST subscriptions/missing:seek",
            json!({"time": "2020-01-01T00:00:00Z"}),
        ),
        (
            "push elsewhere",
            "POST subscriptions/pushed:modifyPushConfig",
            json!({"pushConfig": {"pushEndpoint": "http://127.0.0.1:9/other"}}),
        ),
        ("no push any more", "POST subscriptions/pushed:modifyPushConfig", json!({"pushConfig": {}})),
        ("read it", "GET subscriptions/pushed", Value::Null),
        ("detach", "POST subscriptions/pulled:detach", json!({})),
        ("an unknown method", "POST subscriptions/pulled:nonsense", json!({})),
        ("delete a topic", "DELETE topics/log", Value::Null),
        ("delete it again", "DELETE topics/log", Value::Null),
        ("read an orphan", "GET subscriptions/pulled", Value::Null),
        ("delete a subscription", "DELETE subscriptions/pulled", Value::Null),
        ("delete that again", "DELETE subscriptions/pulled", Value::Null),
    ]
}
