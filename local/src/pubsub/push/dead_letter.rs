//! Giving a message up: it is published to the dead-letter topic and ended here, in one transaction.

use std::collections::BTreeMap;

use crate::clock;
use crate::pubsub::publish::attributes_text;
use crate::pubsub::registry::Registry;
use crate::pubsub::resource::Subscription;
use crate::status::ApiError;
use crate::store::messages::{Message, NewMessage};
use crate::store::{Store, deliveries};

/// True if the message has been moved. It stays where it is if its dead-letter topic has gone: a message is never
/// dropped because of where it should have been kept.
pub(in crate::pubsub) async fn dead_letter(
    store: &Store,
    live: &Registry,
    subscription_id: i64,
    subscription: &Subscription,
    message: &Message,
    attempts: u32,
) -> Result<bool, ApiError> {
    let Some(policy) = &subscription.dead_letter_policy else {
        return Ok(false);
    };
    let copy = copy(subscription, message, attempts)?;
    let (topic, message_id, retain) =
        (policy.dead_letter_topic.clone(), message.id, subscription.retain_acked_messages);
    let moved = store.write(move |tx| {
        deliveries::dead_letter(tx, (subscription_id, message_id), (&topic, &copy), retain, clock::now())
    });
    let Some(published) = moved.await? else {
        log::warn!("{}: message {message_id} could not be dead-lettered", subscription.name);
        return Ok(false);
    };
    log::warn!("{}: message {message_id} dead-lettered after {attempts} attempts", subscription.name);
    live.wake(&published.subscriptions);
    Ok(true)
}

/// The message with the attributes that Google adds
/// (<https://cloud.google.com/pubsub/docs/handling-failures#how_dead_letter_topics_work>).
fn copy(subscription: &Subscription, message: &Message, attempts: u32) -> Result<NewMessage, ApiError> {
    let content = &message.content;
    let mut attributes: BTreeMap<String, String> =
        content.attributes.as_deref().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    let mut segments = subscription.name.split('/');
    let (project, name) = (segments.nth(1).unwrap_or_default(), segments.nth(1).unwrap_or_default());
    let published_at = clock::rfc3339(message.published_at).replace('Z', "+00:00");
    for (key, value) in [
        ("DeliveryCount", attempts.to_string()),
        ("Subscription", name.to_owned()),
        ("SubscriptionProject", project.to_owned()),
        ("TopicPublishTime", published_at),
    ] {
        attributes.insert(format!("CloudPubSubDeadLetterSource{key}"), value);
    }
    Ok(NewMessage {
        data: content.data.clone(),
        attributes: attributes_text(&attributes)?,
        ordering_key: content.ordering_key.clone(),
    })
}
