//! Pub/Sub's REST API, as much of it as a test needs to set up a queue and look into it.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value, json};

use crate::http1::Request;
use crate::{Client, Response};

/// The project every topic and subscription of the kit is in.
pub const PROJECT: &str = "e2e";

/// A client of the API.
#[derive(Clone, Copy, Debug)]
pub struct Pubsub {
    client: Client,
}

impl Pubsub {
    /// Talks to a service at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { client: Client::new(address) }
    }

    /// Creates a topic.
    pub async fn create_topic(&self, topic: &str) {
        self.call("PUT", &topic_path(topic), json!({})).await;
    }

    /// Creates a pull subscription that keeps its messages until they are acknowledged.
    pub async fn create_pull_subscription(&self, subscription: &str, topic: &str) {
        let settings = json!({
            "topic": topic_name(topic), "ackDeadlineSeconds": 600,
        });
        self.create_subscription(subscription, settings).await;
    }

    /// Creates a subscription with these settings.
    pub async fn create_subscription(&self, subscription: &str, settings: Value) {
        self.call("PUT", &subscription_path(subscription), settings).await;
    }

    /// Publishes one message, as anybody with the right to publish may.
    pub async fn publish(&self, topic: &str, data: &[u8], attributes: Value) -> String {
        let message = json!({"data": STANDARD.encode(data), "attributes": attributes});
        let path = format!("{}:publish", topic_path(topic));
        let answer = self.call("POST", &path, json!({"messages": [message]})).await;
        text(&answer.json()["messageIds"][0])
    }

    /// Takes and acknowledges all messages that wait in a pull subscription.
    pub async fn drain(&self, subscription: &str) -> Vec<Message> {
        let path = subscription_path(subscription);
        let mut messages = Vec::new();
        loop {
            let received = self.take(&path, true).await;
            if received.is_empty() {
                return messages;
            }
            messages.extend(received);
        }
    }

    /// Takes and acknowledges what comes through a pull subscription, up to the message that
    /// contains a text.
    pub async fn pull_until(&self, subscription: &str, marker: &str) -> Message {
        let path = subscription_path(subscription);
        loop {
            let received = self.take(&path, false).await;
            if let Some(message) = received.into_iter().find(|message| message.contains(marker)) {
                return message;
            }
        }
    }

    async fn take(&self, path: &str, immediately: bool) -> Vec<Message> {
        let pull = json!({"maxMessages": 1000, "returnImmediately": immediately});
        let answer = self.call("POST", &format!("{path}:pull"), pull).await.json();
        let received = answer["receivedMessages"].as_array().cloned().unwrap_or_default();
        if !received.is_empty() {
            let ids: Vec<_> = received.iter().map(|m| m["ackId"].clone()).collect();
            self.call("POST", &format!("{path}:acknowledge"), json!({"ackIds": ids})).await;
        }
        received.iter().map(|m| Message::parse(&m["message"])).collect()
    }

    /// An access token, from the metadata server beside it.
    pub async fn access_token(&self) -> String {
        let account = "/computeMetadata/v1/instance/service-accounts/default/token";
        let request = Request::get(account).header("metadata-flavor", "Google");
        text(&self.client.send(&request).await.json()["access_token"])
    }

    /// An identity token of the services' own account, from the metadata server.
    pub async fn identity_token(&self, audience: &str) -> String {
        let account = "/computeMetadata/v1/instance/service-accounts/default/identity";
        let target = format!("{account}?audience={audience}&format=full");
        let request = Request::get(&target).header("metadata-flavor", "Google");
        self.client.send(&request).await.text()
    }

    async fn call(&self, method: &str, path: &str, body: Value) -> Response {
        let request = Request::new(method, path)
            .header("content-type", "application/json")
            .header("authorization", format!("Bearer {}", self.access_token().await))
            .body(body.to_string());
        let answer = self.client.send(&request).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
        answer
    }
}

/// A message as Pub/Sub hands it on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Its data, decoded.
    pub data: Vec<u8>,
    /// Its attributes.
    pub attributes: Map<String, Value>,
}

impl Message {
    /// Reads a message of a publish, a pull or a push.
    pub fn parse(message: &Value) -> Self {
        let data = STANDARD.decode(text(&message["data"]));
        Self {
            data: data.expect("base64 in a message's data"),
            attributes: message["attributes"].as_object().cloned().unwrap_or_default(),
        }
    }

    /// The envelope's line of JSON; `Null` where the data is not an envelope.
    pub fn envelope(&self) -> Value {
        let line = self.data.split(|byte| *byte == b'\n').next();
        serde_json::from_slice(line.unwrap_or_default()).unwrap_or_default()
    }

    /// The body in the envelope: what follows its line.
    pub fn body(&self) -> &[u8] {
        let newline = self.data.iter().position(|byte| *byte == b'\n');
        newline.map_or(&[], |at| &self.data[at + 1..])
    }

    /// An attribute, as text.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).and_then(Value::as_str)
    }

    /// Whether a text stands somewhere in the data.
    pub fn contains(&self, needle: &str) -> bool {
        crate::http1::contains(&self.data, needle)
    }
}

/// The messages of a publish request; none if it is not one.
pub fn published(request: &Request) -> Vec<Message> {
    let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
    let messages = body["messages"].as_array();
    messages.into_iter().flatten().map(Message::parse).collect()
}

/// The full name of a topic.
pub fn topic_name(topic: &str) -> String {
    format!("projects/{PROJECT}/topics/{topic}")
}

/// The full name of a subscription.
pub fn subscription_name(subscription: &str) -> String {
    format!("projects/{PROJECT}/subscriptions/{subscription}")
}

fn topic_path(topic: &str) -> String {
    format!("/v1/{}", topic_name(topic))
}

fn subscription_path(subscription: &str) -> String {
    format!("/v1/{}", subscription_name(subscription))
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
