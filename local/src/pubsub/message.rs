//! A message as JSON, as pulls and pushes carry it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::clock;
use crate::store::messages::Message;

/// `PubsubMessage` (<https://cloud.google.com/pubsub/docs/reference/rest/v1/PubsubMessage>).
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct MessageJson {
    #[serde(skip_serializing_if = "Option::is_none")]
    attributes: Option<Box<RawValue>>,
    #[serde(skip_serializing_if = "String::is_empty")]
    data: String,
    message_id: String,
    publish_time: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    ordering_key: Option<String>,
}

/// The body of a push, with the second spelling of id and time that Google's pushes have.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PushBody<'a> {
    message: PushMessage,
    subscription: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<u32>,
}

#[derive(Debug, Serialize)]
struct PushMessage {
    #[serde(flatten)]
    message: MessageJson,
    #[serde(rename = "message_id")]
    id: String,
    #[serde(rename = "publish_time")]
    time: String,
}

impl From<&Message> for MessageJson {
    fn from(message: &Message) -> Self {
        let attributes = message.content.attributes.clone();
        Self {
            attributes: attributes.and_then(|text| RawValue::from_string(text).ok()),
            data: STANDARD.encode(&message.content.data),
            message_id: message.id.to_string(),
            publish_time: clock::rfc3339(message.published_at),
            ordering_key: message.content.ordering_key.clone(),
        }
    }
}

impl<'a> PushBody<'a> {
    /// `attempt` is given only where the subscription has a dead-letter policy.
    pub(super) fn new(message: &Message, subscription: &'a str, attempt: Option<u32>) -> Self {
        let message = MessageJson::from(message);
        let (id, time) = (message.message_id.clone(), message.publish_time.clone());
        Self { message: PushMessage { message, id, time }, subscription, delivery_attempt: attempt }
    }
}

#[cfg(test)]
mod tests {
    use crate::store::messages::NewMessage;

    use super::*;

    fn message(attributes: Option<&str>, data: &[u8], ordering_key: Option<&str>) -> Message {
        let content = NewMessage {
            data: data.to_vec(),
            attributes: attributes.map(str::to_owned),
            ordering_key: ordering_key.map(str::to_owned),
        };
        Message { id: 7, published_at: 1_795_320_000_000, content }
    }

    #[test]
    fn a_push_has_both_spellings_and_the_attempt_only_when_given() {
        let full = message(Some(r#"{"kind":"command"}"#), b"\xff\xfe", Some("key"));
        assert_eq!(
            serde_json::to_string(&PushBody::new(&full, "projects/p/subscriptions/s", Some(2))).unwrap(),
            r#"{"message":{"attributes":{"kind":"command"},"data":"//4=","messageId":"7","publishTime":"2026-11-22T04:00:00.000Z","orderingKey":"key","message_id":"7","publish_time":"2026-11-22T04:00:00.000Z"},"subscription":"projects/p/subscriptions/s","deliveryAttempt":2}"#
        );
        let bare = message(None, b"x", None);
        assert_eq!(
            serde_json::to_string(&PushBody::new(&bare, "projects/p/subscriptions/s", None)).unwrap(),
            r#"{"message":{"data":"eA==","messageId":"7","publishTime":"2026-11-22T04:00:00.000Z","message_id":"7","publish_time":"2026-11-22T04:00:00.000Z"},"subscription":"projects/p/subscriptions/s"}"#
        );
    }
}
