//! A dead letter, as far as a person may see it: never its body, nor the query of its path.

use std::fmt;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

/// Attributes that say why a message is a dead letter. They end with it.
const REASONS: [&str; 4] = ["lockgate_reason", "lockgate_status", "lockgate_attempt", "lockgate_message_id"];

/// Pub/Sub's own dead-letter policy adds attributes that begin so
/// (<https://cloud.google.com/pubsub/docs/handling-failures>).
const PUBSUB_REASON: &str = "CloudPubSubDeadLetter";

/// A message of the dead-letter subscription.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Letter {
    /// Acknowledges this delivery of it.
    pub(super) ack_id: String,
    /// The envelope's id; the message's own where the data is no envelope.
    pub(super) id: String,
    reason: String,
    status: String,
    method: String,
    path: String,
    time: String,
    data: Value,
    attributes: Map<String, Value>,
}

impl Letter {
    /// Reads one of a pull's `receivedMessages`.
    pub(super) fn read(received: &Value) -> Option<Self> {
        let ack_id = text(received, "/ackId")?;
        let message = received.get("message")?;
        let attributes = message.get("attributes").and_then(Value::as_object).cloned().unwrap_or_default();
        let attribute = |name: &str| attributes.get(name).and_then(Value::as_str).map(str::to_owned);
        let data = message.get("data").cloned().unwrap_or_else(|| "".into());
        let head = head(data.as_str().unwrap_or_default()).unwrap_or_default();
        let of_head = |name: &str| text(&head, name);
        let given_up = attributes.keys().any(|name| name.starts_with(PUBSUB_REASON));
        let reason = attribute("lockgate_reason").or(given_up.then(|| "delivery_attempts".to_owned()));
        let unknown = || "-".to_owned();
        Some(Self {
            ack_id,
            id: of_head("/id").or_else(|| text(message, "/messageId"))?,
            reason: reason.unwrap_or_else(unknown),
            status: attribute("lockgate_status").unwrap_or_else(unknown),
            method: of_head("/method").unwrap_or_else(unknown),
            path: of_head("/path")
                .map_or_else(unknown, |path| path.split('?').next().unwrap_or_default().to_owned()),
            time: of_head("/received_at").or_else(|| text(message, "/publishTime")).unwrap_or_else(unknown),
            data,
            attributes,
        })
    }

    /// The message as it was before it became a dead letter.
    pub(super) fn message(&self) -> Value {
        let about_itself = |name: &str| {
            REASONS.contains(&name) || name.starts_with(PUBSUB_REASON) || name.starts_with("goog")
        };
        let attributes: Map<String, Value> = self
            .attributes
            .iter()
            .filter(|(name, _)| !about_itself(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut message = Map::new();
        message.insert("data".to_owned(), self.data.clone());
        message.insert("attributes".to_owned(), Value::Object(attributes));
        Value::Object(message)
    }
}

/// The columns of the list.
pub(super) const COLUMNS: &str = "id\treason\tstatus\tmethod\tpath\ttime";

impl fmt::Display for Letter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [&self.id, &self.reason, &self.status, &self.method, &self.path, &self.time];
        // A sender chose some of them, and a terminal obeys what it is sent.
        let escaped: Vec<String> = fields.iter().map(|field| field.escape_debug().to_string()).collect();
        f.write_str(&escaped.join("\t"))
    }
}

fn text(value: &Value, pointer: &str) -> Option<String> {
    value.pointer(pointer).and_then(Value::as_str).map(str::to_owned)
}

/// The first line of an envelope.
fn head(data: &str) -> Option<Value> {
    let bytes = STANDARD.decode(data).ok()?;
    let line = bytes.split(|byte| *byte == b'\n').next()?;
    serde_json::from_slice(line).ok().filter(Value::is_object)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn received(data: &str, attributes: Value) -> Value {
        let data = STANDARD.encode(data);
        json!({"ackId": "a", "message": {"messageId": "7", "publishTime": "2026-01-01T00:00:00Z", "data": data, "attributes": attributes}})
    }

    #[test]
    fn a_letter_shows_neither_body_nor_query() {
        let envelope =
            "{\"v\":1,\"id\":\"i\",\"received_at\":\"t\",\"method\":\"POST\",\"path\":\"/a?token=x\"}\nbody";
        let attributes = json!({"lockgate_reason": "upstream_status", "lockgate_status": "404"});
        let letter = Letter::read(&received(envelope, attributes)).unwrap();
        assert_eq!(letter.to_string(), "i\tupstream_status\t404\tPOST\t/a\tt");
    }

    #[test]
    fn what_is_no_envelope_goes_by_its_message_and_cannot_command_a_terminal() {
        let letter =
            Letter::read(&received("\u{1b}[2J", json!({"CloudPubSubDeadLetterSourceDeliveryCount": "100"})))
                .unwrap();
        assert_eq!(letter.to_string(), "7\tdelivery_attempts\t-\t-\t-\t2026-01-01T00:00:00Z");
        let odd = Letter::read(&received("{\"id\":\"\\u001b[2J\"}\n", json!({}))).unwrap();
        assert!(!odd.to_string().contains('\u{1b}'));
    }

    #[test]
    fn data_goes_back_unchanged_without_the_reasons() {
        let attributes = json!({
            "lockgate_id": "i", "kind": "command", "lockgate_reason": "r", "lockgate_status": "404",
            "lockgate_attempt": "3", "lockgate_message_id": "9", "CloudPubSubDeadLetterSourceTopicPublishTime": "t",
        });
        let source = received("x", attributes);
        let message = Letter::read(&source).unwrap().message();
        assert_eq!(
            message,
            json!({"data": source["message"]["data"], "attributes": {"lockgate_id": "i", "kind": "command"}})
        );
    }
}
