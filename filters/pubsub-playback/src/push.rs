//! A push as Pub/Sub sends it (cloud.google.com/pubsub/docs/push, "wrapped").

use lockgate_common::json::{Json, Kind};

/// The parts of a push that are used.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Push {
    /// The message's data, still base64: a dead letter carries it on as it is.
    pub data: String,
    /// The message's attributes.
    pub attributes: Vec<(String, String)>,
    /// Pub/Sub's id of the message.
    pub message_id: String,
    /// When it was published, RFC 3339.
    pub publish_time: String,
    /// Which delivery this is, where the subscription has a dead-letter policy.
    pub delivery_attempt: Option<u64>,
}

impl Push {
    /// Reads a push; `None` where it is none.
    #[inline(never)]
    pub fn parse(body: &[u8]) -> Option<Self> {
        let json = Json::parse(body).ok()?;
        let message = json.field("message").filter(|message| message.kind() == Kind::Object)?;
        let text = |name: &str| message.field(name).and_then(Json::str).map(|text| text.into_owned());
        let attributes = message.field("attributes").into_iter().flat_map(Json::members);
        Some(Self {
            data: text("data").unwrap_or_default(),
            attributes: attributes
                .filter_map(|(name, value)| Some((name.into_owned(), value.str()?.into_owned())))
                .collect(),
            message_id: text("messageId").or_else(|| text("message_id"))?,
            publish_time: text("publishTime").or_else(|| text("publish_time")).unwrap_or_default(),
            delivery_attempt: json.field("deliveryAttempt").and_then(Json::u64),
        })
    }
}
