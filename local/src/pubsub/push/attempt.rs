//! One delivery of one message: send it, and record what became of it before its place is free again.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::Uri;
use hyper::header::HeaderValue;
use tokio::time::Instant;

use crate::clock;
use crate::identity::Form;
use crate::pubsub::message::PushBody;
use crate::pubsub::resource::Subscription;
use crate::status::ApiError;
use crate::store::deliveries::{self, Delivery};

use super::backoff::backoff;
use super::dead_letter::dead_letter;
use super::endpoint::{Answer, Push};
use super::pump::Pump;

/// What the pump needs to know of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The endpoint answered, or took its time.
    Answered,
    /// There was no endpoint, or nothing could be sent or recorded: pause before anything else is tried.
    Failed,
}

pub(super) async fn attempt(pump: Arc<Pump>, subscription: Arc<Subscription>, delivery: Delivery) -> Outcome {
    let id = delivery.message.id;
    match deliver(&pump, &subscription, delivery).await {
        Ok(outcome) => outcome,
        Err(_) => {
            log::error!("{}: the delivery of message {id} could not be made or recorded", subscription.name);
            Outcome::Failed
        }
    }
}

async fn deliver(pump: &Pump, subscription: &Subscription, delivery: Delivery) -> Result<Outcome, ApiError> {
    let attempt = delivery.attempts + 1;
    let push = prepare(pump, subscription, &delivery, attempt).await?;
    let deadline = Instant::now() + Duration::from_secs(u64::from(subscription.ack_deadline_seconds));
    let answer = pump.endpoint.send(&push, deadline).await;
    let message = delivery.message;
    let (id, message_id) = (pump.id, message.id);
    if answer == Answer::Acknowledged {
        let (retain, now) = (subscription.retain_acked_messages, clock::now());
        pump.store.write(move |tx| deliveries::acknowledge(tx, id, message_id, retain, now)).await?;
        return Ok(Outcome::Answered);
    }
    log::warn!("{}: attempt {attempt} of message {message_id} failed: {answer:?}", subscription.name);
    let outcome = if answer == Answer::Unreachable { Outcome::Failed } else { Outcome::Answered };
    let limit = subscription.dead_letter_policy.as_ref().map(|policy| policy.max_delivery_attempts);
    if limit.is_some_and(|limit| attempt >= limit)
        && dead_letter(&pump.store, &pump.live, id, subscription, &message, attempt).await?
    {
        return Ok(outcome);
    }
    let due = clock::now() + backoff(subscription.retry_policy.as_ref(), attempt);
    pump.store.write(move |tx| deliveries::postpone(tx, id, message_id, attempt, due)).await?;
    Ok(outcome)
}

async fn prepare(
    pump: &Pump,
    subscription: &Subscription,
    delivery: &Delivery,
    attempt: u32,
) -> Result<Push, ApiError> {
    let config = &subscription.push_config;
    let authorization = match &config.oidc_token {
        None => None,
        Some(account) => {
            let token =
                pump.issuer.token(&account.audience, &account.service_account_email, Form::Full).await?;
            let value = HeaderValue::try_from(format!("Bearer {token}"));
            let mut value = value.map_err(|_| ApiError::unavailable())?;
            value.set_sensitive(true);
            Some(value)
        }
    };
    let numbered = subscription.dead_letter_policy.as_ref().map(|_| attempt);
    let body = serde_json::to_vec(&PushBody::new(&delivery.message, &subscription.name, numbered));
    Ok(Push {
        uri: config.push_endpoint.parse::<Uri>().map_err(|_| ApiError::unavailable())?,
        authorization,
        body: Bytes::from(body.map_err(|_| ApiError::unavailable())?),
    })
}
