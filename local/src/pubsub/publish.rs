//! `topics:publish`: the limits of a request, and the answer once it is on the disk.

use std::collections::BTreeMap;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::clock;
use crate::status::{self, ApiError};
use crate::store::messages::{self, NewMessage};

use super::{PubSub, invalid_json, parse};

/// Limits of <https://cloud.google.com/pubsub/quotas#resource_limits>; sizes in bytes.
const MAX_MESSAGES: usize = 1000;
const MAX_REQUEST_BYTES: usize = 10_000_000;
const MAX_ATTRIBUTES: usize = 100;
const MAX_KEY_BYTES: usize = 256;
const MAX_VALUE_BYTES: usize = 1024;
const MAX_ORDERING_KEY_BYTES: usize = 1024;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishRequest {
    #[serde(default)]
    messages: Vec<PublishMessage>,
}

/// Its id and publish time are the server's to give, so they are not fields here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PublishMessage {
    #[serde(default)]
    data: Option<String>,
    #[serde(default)]
    attributes: Option<BTreeMap<String, String>>,
    #[serde(default, rename = "orderingKey", alias = "ordering_key")]
    ordering_key: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct PublishResponse {
    message_ids: Vec<String>,
}

impl PubSub {
    pub(super) async fn publish(&self, topic: String, body: &Bytes) -> Result<Response, ApiError> {
        let request: PublishRequest = parse(body)?;
        let messages = checked(request)?;
        let name = topic.clone();
        let now = clock::now();
        let published = self.store.write(move |tx| messages::publish(tx, &name, &messages, now)).await?;
        let published = published.ok_or_else(|| ApiError::not_found(&topic))?;
        self.live.wake(&published.subscriptions);
        let message_ids = published.ids.iter().map(i64::to_string).collect();
        status::ok(&PublishResponse { message_ids })
    }
}

fn checked(request: PublishRequest) -> Result<Vec<NewMessage>, ApiError> {
    if request.messages.is_empty() {
        return Err(ApiError::invalid("The request has no messages."));
    }
    if request.messages.len() > MAX_MESSAGES {
        return Err(ApiError::invalid(format!("The request has more than {MAX_MESSAGES} messages.")));
    }
    let mut bytes = 0;
    let mut messages = Vec::with_capacity(request.messages.len());
    for message in request.messages {
        let attributes = message.attributes.unwrap_or_default();
        check_attributes(&attributes)?;
        let data = STANDARD
            .decode(message.data.unwrap_or_default())
            .map_err(|_| ApiError::invalid("A message's data is not standard base64."))?;
        if data.is_empty() && attributes.is_empty() {
            return Err(ApiError::invalid("A message must have data or at least one attribute."));
        }
        let ordering_key = message.ordering_key.filter(|key| !key.is_empty());
        if ordering_key.as_ref().is_some_and(|key| key.len() > MAX_ORDERING_KEY_BYTES) {
            return Err(ApiError::invalid(format!(
                "An ordering key has more than {MAX_ORDERING_KEY_BYTES} bytes."
            )));
        }
        bytes += data.len() + attributes.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>();
        if bytes > MAX_REQUEST_BYTES {
            return Err(ApiError::invalid(format!("The messages have more than {MAX_REQUEST_BYTES} bytes.")));
        }
        messages.push(NewMessage { data, attributes: attributes_text(&attributes)?, ordering_key });
    }
    Ok(messages)
}

/// Attributes as they are stored; none where there are none.
pub(super) fn attributes_text(attributes: &BTreeMap<String, String>) -> Result<Option<String>, ApiError> {
    if attributes.is_empty() {
        return Ok(None);
    }
    serde_json::to_string(attributes).map(Some).map_err(|error| invalid_json(&error))
}

fn check_attributes(attributes: &BTreeMap<String, String>) -> Result<(), ApiError> {
    if attributes.len() > MAX_ATTRIBUTES {
        return Err(ApiError::invalid(format!("A message has more than {MAX_ATTRIBUTES} attributes.")));
    }
    for (key, value) in attributes {
        if key.is_empty() || key.len() > MAX_KEY_BYTES {
            return Err(ApiError::invalid(format!("An attribute's key has not 1 to {MAX_KEY_BYTES} bytes.")));
        }
        if key.starts_with("goog") {
            return Err(ApiError::invalid("An attribute's key begins with 'goog'."));
        }
        if value.len() > MAX_VALUE_BYTES {
            return Err(ApiError::invalid(format!(
                "An attribute's value has more than {MAX_VALUE_BYTES} bytes."
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(messages: Value) -> Result<Vec<NewMessage>, ApiError> {
        checked(parse(&Bytes::from(json!({ "messages": messages }).to_string()))?)
    }

    fn attributes(count: usize) -> Value {
        (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into()
    }

    #[test]
    fn limits_hold_at_their_edges() {
        let with = |attributes: Value| json!([{ "attributes": attributes }]);
        let of = |bytes: usize| json!([{ "data": STANDARD.encode(vec![0; bytes]) }]);
        let many = |count: usize| json!(vec![json!({ "data": "eA==" }); count]);
        for accepted in [
            with(attributes(100)),
            with(json!({ "k".repeat(256): "v".repeat(1024) })),
            of(10_000_000),
            many(1000),
            json!([{ "data": "+/+/", "attributes": null, "orderingKey": "" }]),
        ] {
            assert!(check(accepted).is_ok());
        }
        for refused in [
            json!([]),
            json!([{}]),
            json!([{ "data": "" }]),
            with(attributes(101)),
            with(json!({ "k".repeat(257): "v" })),
            with(json!({ "k": "v".repeat(1025) })),
            with(json!({ "": "v" })),
            with(json!({ "googclient": "v" })),
            with(json!({ "k": 1 })),
            of(10_000_001),
            many(1001),
            json!([{ "data": "-_-_" }]),
            json!([{ "data": "eA" }]),
            json!([{ "data": "e A==" }]),
            json!([{ "data": "eA==", "messageId": "1" }]),
        ] {
            assert!(
                check(refused.clone()).is_err(),
                "{}",
                refused.to_string().chars().take(80).collect::<String>()
            );
        }
    }

    #[test]
    fn what_is_stored_is_the_decoded_data_and_the_attributes_as_json() {
        let stored = check(json!([{ "data": "//4=", "attributes": { "b": "2", "a": "\"" } }])).unwrap();
        let attributes = Some(r#"{"a":"\"","b":"2"}"#.to_owned());
        assert_eq!(stored, [NewMessage { data: vec![0xff, 0xfe], attributes, ordering_key: None }]);
    }
}
