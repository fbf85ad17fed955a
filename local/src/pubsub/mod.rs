//! Pub/Sub's REST API (<https://cloud.google.com/pubsub/docs/reference/rest>), as far as README.md lists it.

mod duration;
mod message;
mod names;
mod publish;
mod pull;
mod push;
mod registry;
mod resource;
mod subscriptions;
mod topics;

use std::sync::Arc;
use std::time::Duration;

use axum::http::Method;
use axum::response::Response;
use bytes::Bytes;
use serde::de::DeserializeOwned;

use crate::api::Call;
use crate::clock;
use crate::identity::Issuer;
use crate::status::ApiError;
use crate::store::{Store, StoreError, retention};

use registry::Registry;

/// How often messages past their retention are looked for.
const EXPIRE_EVERY: Duration = Duration::from_secs(60);

/// The service: what is stored, and the subscriptions that are being delivered.
pub(crate) struct PubSub {
    store: Store,
    live: Registry,
}

impl PubSub {
    /// Starts delivering what an earlier server left.
    pub(crate) async fn start(store: Store, issuer: Arc<Issuer>) -> Result<Self, StoreError> {
        let live = Registry::start(store.clone(), issuer).await?;
        live.spawn(expire(store.clone(), live.clone()));
        Ok(Self { store, live })
    }

    pub(crate) async fn answer(&self, call: Call) -> Result<Response, ApiError> {
        let Call { method, segments, verb, query, body } = call;
        let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
        match segments.as_slice() {
            ["projects", project, collection] if method == Method::GET && verb.is_none() => {
                let page = names::page(&query)?;
                match *collection {
                    "topics" => self.list_topics(names::project(project)?, page).await,
                    "subscriptions" => self.list_subscriptions(names::project(project)?, page),
                    _ => Err(ApiError::unknown_method()),
                }
            }
            ["projects", project, "topics", topic] => {
                let name = names::topic(project, topic)?;
                match (&method, verb.as_deref()) {
                    (&Method::PUT, None) => self.create_topic(name, parse(&body)?).await,
                    (&Method::GET, None) => self.topic(name).await,
                    (&Method::DELETE, None) => self.delete_topic(name).await,
                    (&Method::POST, Some("publish")) => self.publish(name, &body).await,
                    _ => Err(ApiError::unknown_method()),
                }
            }
            ["projects", project, "topics", topic, "subscriptions"]
                if method == Method::GET && verb.is_none() =>
            {
                self.list_topic_subscriptions(names::topic(project, topic)?, names::page(&query)?).await
            }
            ["projects", project, "subscriptions", subscription] => {
                let name = names::subscription(project, subscription)?;
                match (&method, verb.as_deref()) {
                    (&Method::PUT, None) => self.create_subscription(name, parse(&body)?).await,
                    (&Method::PATCH, None) => self.update_subscription(&name, parse(&body)?).await,
                    (&Method::GET, None) => self.subscription(&name),
                    (&Method::DELETE, None) => self.delete_subscription(&name).await,
                    (&Method::POST, Some("modifyPushConfig")) => {
                        self.modify_push_config(&name, parse(&body)?).await
                    }
                    (&Method::POST, Some("pull")) => self.pull(&name, parse(&body)?).await,
                    (&Method::POST, Some("acknowledge")) => self.acknowledge(&name, parse(&body)?).await,
                    (&Method::POST, Some("modifyAckDeadline")) => {
                        self.modify_ack_deadline(&name, parse(&body)?).await
                    }
                    (&Method::POST, Some("seek")) => self.seek(&name, parse(&body)?).await,
                    _ => Err(ApiError::unknown_method()),
                }
            }
            _ => Err(ApiError::unknown_method()),
        }
    }

    /// Ends pushes in progress and answers whoever waits for messages.
    pub(crate) async fn stop_deliveries(&self) {
        self.live.stop().shutdown().await;
    }

    pub(crate) async fn close(&self) {
        self.store.close().await;
    }
}

impl Drop for PubSub {
    fn drop(&mut self) {
        // The tasks hold the registry that holds them.
        drop(self.live.stop());
    }
}

/// Forgets messages past their retention, now and then.
async fn expire(store: Store, live: Registry) {
    let mut interval = tokio::time::interval(EXPIRE_EVERY);
    loop {
        interval.tick().await;
        for live in live.all() {
            let id = live.id;
            let cutoff = clock::now() - live.resource().message_retention_duration.millis();
            match store.write(move |tx| retention::expire(tx, id, cutoff)).await {
                Ok(0) => {}
                Ok(lost) => {
                    log::warn!("{}: {lost} messages expired before they were acknowledged", live.name)
                }
                Err(error) => {
                    log::error!("{}: old messages could not be dropped: {error}", live.name)
                }
            }
        }
    }
}

/// A request body; an empty one is `{}`, as Google takes it.
fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, ApiError> {
    let text: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(text).map_err(|error| invalid_json(&error))
}

fn invalid_json(error: &serde_json::Error) -> ApiError {
    ApiError::invalid(format!("Invalid JSON payload received. {error}"))
}
