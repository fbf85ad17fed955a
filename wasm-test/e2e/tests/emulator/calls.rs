//! The stand-in against the emulator, call by call: they differ only where it is known, and why.

use std::collections::BTreeSet;

use lockgate_e2e::{Client, Request, Response, Stack};
use serde_json::{Value, json};

use super::both;
use table::{Call, calls};

mod table;

/// Where the two differ, and who does what Google does.
const KNOWN: [(&str, &[&str]); 4] = [
    (
        "The emulator leaves types and limits of Google's documentation unchecked, the stand-in does not.",
        &[
            "publish a number as an attribute",
            "publish a long attribute",
            "publish a long attribute's key",
            "publish an attribute without a key",
            "publish a reserved attribute",
            "publish too many attributes",
            "publish ten megabytes and a byte",
            "a short ack deadline",
            "pull less than nothing",
            "pull from a push subscription",
        ],
    ),
    (
        "The emulator knows retention up to 7 days, Google and the stand-in up to 31.",
        &["the longest retention"],
    ),
    (
        "The stand-in takes less than Google: what its README says it refuses.",
        &[
            "publish base64 without padding",
            "publish URL-safe base64",
            "publish with an id",
            "seek to a snapshot",
        ],
    ),
    (
        "Both refuse, each in its own way: with another status, or without a body.",
        &["too few delivery attempts", "too many delivery attempts", "an unknown method", "detach"],
    ),
];

#[tokio::test]
async fn calls_are_answered_alike() {
    let Some([theirs, ours]) = both(answers).await else { return };
    let mut differing = BTreeSet::new();
    for (Call { what, .. }, (their, our)) in calls().iter().zip(theirs.iter().zip(&ours)) {
        if their != our {
            println!("{what}\n    emulator {their}\n    stand-in {our}");
            differing.insert(*what);
        }
    }
    let known = KNOWN.iter().flat_map(|(_, calls)| calls.iter().copied()).collect();
    assert_eq!(differing, known);
}

async fn answers(stack: &Stack) -> Vec<Value> {
    let client = Client::new(stack.google_address());
    let token = format!("Bearer {}", stack.pubsub().access_token().await);
    let mut answers = Vec::new();
    let mut ack_ids = json!([]);
    for call in calls() {
        let mut body = call.body;
        if body["ackIds"] == "those pulled" {
            body["ackIds"] = ack_ids.clone();
        }
        let request = Request::new(call.method, &format!("/v1/projects/calls/{}", call.resource))
            .header("authorization", &token)
            .header("content-type", "application/json");
        let answer = client
            .send(&match body {
                Value::Null => request,
                Value::String(text) => request.body(text),
                body => request.body(body.to_string()),
            })
            .await;
        if call.what == "pull" {
            let received = answer.json()["receivedMessages"].as_array().cloned().unwrap_or_default();
            ack_ids = received.iter().map(|message| message["ackId"].clone()).collect();
        }
        answers.push(essence(&answer));
    }
    answers
}

/// An answer without what each server chooses by itself: wording, ids, times.
fn essence(answer: &Response) -> Value {
    let mut body = serde_json::from_slice(&answer.body).unwrap_or(Value::Null);
    if let Some(error) = body.get_mut("error").and_then(Value::as_object_mut) {
        error.remove("message");
    }
    hide(&mut body);
    json!([answer.status, body])
}

fn hide(value: &mut Value) {
    match value {
        Value::Object(members) => {
            // The emulator does not have this field, and the stand-in's says the same always.
            members.remove("state");
            for (name, value) in members {
                match &**name {
                    "messageId" | "ackId" | "publishTime" | "nextPageToken" => *value = json!("its own"),
                    "messageIds" => *value = json!(value.as_array().map(Vec::len)),
                    _ => hide(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(hide),
        _ => {}
    }
}
