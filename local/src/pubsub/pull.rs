//! What a client that pulls does: take messages, acknowledge, ask for more time, go back in time.

use std::time::Duration;

use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::clock;
use crate::status::{self, ApiError};
use crate::store::deliveries::{self, Delivery};

use super::PubSub;
use super::message::MessageJson;
use super::push::{backoff, dead_letter};
use super::registry::Live;
use super::resource::Subscription;

/// A pull that finds nothing is answered after this long, with nothing.
const MAX_WAIT: Duration = Duration::from_secs(30);

/// Google returns no more than this at once.
const MAX_MESSAGES: usize = 1000;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PullRequest {
    #[serde(alias = "max_messages")]
    max_messages: usize,
    #[serde(default, alias = "return_immediately")]
    return_immediately: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct AcknowledgeRequest {
    #[serde(alias = "ack_ids")]
    ack_ids: Vec<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct ModifyAckDeadlineRequest {
    #[serde(alias = "ack_ids")]
    ack_ids: Vec<String>,
    #[serde(alias = "ack_deadline_seconds")]
    ack_deadline_seconds: i64,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SeekRequest {
    #[serde(default)]
    time: Option<String>,
    #[serde(default)]
    snapshot: Option<String>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReceivedMessage {
    ack_id: String,
    message: MessageJson,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_attempt: Option<u32>,
}

impl PubSub {
    pub(super) async fn pull(&self, name: &str, request: PullRequest) -> Result<Response, ApiError> {
        if request.max_messages == 0 {
            return Err(ApiError::invalid("maxMessages must be more than zero."));
        }
        let live = self.pulled(name)?;
        let limit = request.max_messages.min(MAX_MESSAGES);
        let mut arrivals = live.arrivals();
        let deadline = tokio::time::Instant::now() + MAX_WAIT;
        loop {
            arrivals.borrow_and_update();
            let (received, next) = self.take(&live, limit).await?;
            if !received.is_empty() {
                return status::ok(&json!({ "receivedMessages": received }));
            }
            if request.return_immediately || tokio::time::Instant::now() >= deadline {
                return status::ok(&json!({}));
            }
            let due = next.map_or(MAX_WAIT, |due| {
                Duration::from_millis(u64::try_from(due - clock::now()).unwrap_or_default())
            });
            tokio::select! {
                () = tokio::time::sleep_until(deadline) => {}
                () = tokio::time::sleep(due) => {}
                arrived = arrivals.changed() => if arrived.is_err() {
                    return status::ok(&json!({}));
                }
            }
        }
    }

    async fn take(
        &self,
        live: &Live,
        limit: usize,
    ) -> Result<(Vec<ReceivedMessage>, Option<clock::Millis>), ApiError> {
        let resource = live.resource();
        let (id, now) = (live.id, clock::now());
        let until = now + i64::from(resource.ack_deadline_seconds) * 1000;
        let found = self.store.write(move |tx| deliveries::lease(tx, id, now, until, limit)).await?;
        let mut received = Vec::with_capacity(found.deliveries.len());
        for delivery in found.deliveries {
            // The lease has just counted this attempt; those before it have failed.
            if self.given_up(live, &resource, &delivery, delivery.attempts.saturating_sub(1)).await? {
                continue;
            }
            received.push(ReceivedMessage {
                ack_id: ack_id(delivery.message.id, delivery.attempts),
                message: MessageJson::from(&delivery.message),
                delivery_attempt: resource.dead_letter_policy.as_ref().map(|_| delivery.attempts),
            });
        }
        Ok((received, found.next))
    }

    /// Whether the message has gone to the dead letters because of so many `failures`.
    async fn given_up(
        &self,
        live: &Live,
        resource: &Subscription,
        delivery: &Delivery,
        failures: u32,
    ) -> Result<bool, ApiError> {
        match &resource.dead_letter_policy {
            Some(policy) if failures >= policy.max_delivery_attempts => {
                Ok(dead_letter(&self.store, &self.live, live.id, resource, &delivery.message, failures)
                    .await?)
            }
            _ => Ok(false),
        }
    }

    pub(super) async fn acknowledge(
        &self,
        name: &str,
        request: AcknowledgeRequest,
    ) -> Result<Response, ApiError> {
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        let leases = parse_ack_ids(&request.ack_ids)?;
        let (id, retain, now) = (live.id, live.resource().retain_acked_messages, clock::now());
        let acknowledged = self.store.write(move |tx| {
            leases.iter().try_for_each(|lease| deliveries::acknowledge(tx, id, lease.message, retain, now))
        });
        acknowledged.await?;
        status::ok(&json!({}))
    }

    /// A deadline of zero gives the message back: it is due again after its back-off.
    pub(super) async fn modify_ack_deadline(
        &self,
        name: &str,
        request: ModifyAckDeadlineRequest,
    ) -> Result<Response, ApiError> {
        let seconds = request.ack_deadline_seconds;
        if !(0..=600).contains(&seconds) {
            return Err(ApiError::invalid("ackDeadlineSeconds is not between 0 and 600."));
        }
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        let leases = parse_ack_ids(&request.ack_ids)?;
        let (id, now) = (live.id, clock::now());
        let resource = live.resource();
        let modified = self.store.write(move |tx| {
            for lease in leases {
                let wait = match seconds {
                    0 => backoff(resource.retry_policy.as_ref(), lease.attempts),
                    seconds => seconds * 1000,
                };
                // A lease that has ended meanwhile is somebody else's to change.
                if deliveries::attempts(tx, id, lease.message)? == Some(lease.attempts) {
                    deliveries::postpone(tx, id, lease.message, lease.attempts, now + wait)?;
                }
            }
            Ok(())
        });
        modified.await?;
        live.wake();
        status::ok(&json!({}))
    }

    pub(super) async fn seek(&self, name: &str, request: SeekRequest) -> Result<Response, ApiError> {
        let time = match (&request.time, &request.snapshot) {
            (Some(time), None) => clock::parse_rfc3339(time),
            (None, Some(_)) => return Err(ApiError::unimplemented("snapshots")),
            _ => None,
        };
        let time = time.ok_or_else(|| ApiError::invalid("A seek needs a time, as RFC 3339 writes it."))?;
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        let (id, retain, now) = (live.id, live.resource().retain_acked_messages, clock::now());
        self.store.write(move |tx| deliveries::seek(tx, id, time, retain, now)).await?;
        log::info!("{name}: sought to {}", clock::rfc3339(time));
        live.wake();
        status::ok(&json!({}))
    }

    fn pulled(&self, name: &str) -> Result<std::sync::Arc<Live>, ApiError> {
        let live = self.live.find(name).ok_or_else(|| ApiError::not_found(name))?;
        if live.resource().is_push() {
            return Err(ApiError::precondition("A subscription with a pushEndpoint cannot be pulled."));
        }
        Ok(live)
    }
}

/// One handing out of a message; the number of the attempt tells it from later ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Lease {
    message: i64,
    attempts: u32,
}

fn ack_id(message: i64, attempts: u32) -> String {
    URL_SAFE_NO_PAD.encode(format!("{message}.{attempts}"))
}

fn parse_ack_ids(ack_ids: &[String]) -> Result<Vec<Lease>, ApiError> {
    if ack_ids.is_empty() {
        return Err(ApiError::invalid("The request has no ackIds."));
    }
    let parsed: Option<Vec<Lease>> = ack_ids.iter().map(|ack_id| parse_ack_id(ack_id)).collect();
    parsed.ok_or_else(|| ApiError::invalid("An ackId is not one that a pull returned."))
}

fn parse_ack_id(ack_id: &str) -> Option<Lease> {
    let text = String::from_utf8(URL_SAFE_NO_PAD.decode(ack_id).ok()?).ok()?;
    let (message, attempts) = text.split_once('.')?;
    Some(Lease { message: message.parse().ok()?, attempts: attempts.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_ack_id_names_the_message_and_the_attempt() {
        let lease = Lease { message: 12, attempts: 3 };
        assert_eq!(parse_ack_id(&ack_id(12, 3)), Some(lease));
        for bad in ["", "12", "!!", &URL_SAFE_NO_PAD.encode("12"), &URL_SAFE_NO_PAD.encode("a.b")] {
            assert_eq!(parse_ack_id(bad), None, "{bad}");
        }
    }
}
