//! What cannot be delivered, kept where it can be seen and replayed.

use lockgate_common::encoding::{base64, push_decimal};
use lockgate_common::flow::{Stream, loggable};
use lockgate_common::host::Level;
use lockgate_common::publish::{PublishError, Publisher, message};

use crate::push::Push;

/// Attributes of one message at most, ours included (cloud.google.com/pubsub/quotas).
const MAX_ATTRIBUTES: usize = 100;

/// Publishes a message, data and attributes as they came, with the reason. `Ok` means that it is
/// stored, so the original may be acknowledged. The id is the one that the access log has.
pub async fn publish(
    publisher: &Publisher,
    stream: &Stream,
    push: &Push,
    reason: &str,
    status: Option<u16>,
    request_id: &str,
    deadline: u64,
) -> Result<(), PublishError> {
    let decimal = |number: Option<u64>| {
        let mut text = String::new();
        if let Some(number) = number {
            push_decimal(&mut text, number);
        }
        text
    };
    let (status, attempt) = (decimal(status.map(u64::from)), decimal(push.delivery_attempt));
    let mut ours = vec![("lockgate_reason", reason), ("lockgate_message_id", push.message_id.as_str())];
    ours.extend([("lockgate_status", &*status), ("lockgate_attempt", &*attempt)].into_iter().filter(|it| !it.1.is_empty()));
    // Whatever an earlier dead letter of the same message said is no longer so; `goog` is Pub/Sub's.
    let stays =
        |name: &str| name == "lockgate_id" || !(name.starts_with("lockgate_") || name.starts_with("goog"));
    let theirs = push.attributes.iter().filter(|(name, _)| stays(name)).take(MAX_ATTRIBUTES - ours.len());
    let mut attributes: Vec<(&str, &str)> =
        theirs.map(|(name, value)| (name.as_str(), value.as_str())).collect();
    attributes.extend(ours);
    let result = publisher.publish(message(&push.data, &attributes), deadline).await;
    report(stream, push, reason, request_id, result.is_ok());
    result
}

/// A push that could not be read, as one that can be kept: its body is the data.
pub fn unreadable(body: &[u8]) -> Push {
    Push { data: base64(body), ..Push::default() }
}

fn report(stream: &Stream, push: &Push, reason: &str, request_id: &str, stored: bool) {
    let mut line = String::from("lockgate filter=pubsub-playback ");
    line.push_str(if stored { "dead_lettered" } else { "not_dead_lettered" });
    line.push_str(" reason=");
    line.push_str(reason);
    line.push_str(" message_id=");
    line.push_str(&loggable(&push.message_id));
    line.push_str(" request_id=");
    line.push_str(request_id);
    stream.host().log(Level::Warn, &line);
}
