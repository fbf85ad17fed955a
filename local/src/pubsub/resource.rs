//! The subscription as a resource: Google's JSON, its defaults and its limits
//! (<https://cloud.google.com/pubsub/docs/reference/rest/v1/projects.subscriptions>).

use std::collections::BTreeMap;

use axum::http::Uri;
use serde::{Deserialize, Serialize};

use crate::status::ApiError;

use super::duration::Duration;
use super::names;

const DAY: i64 = 86_400;

/// A subscription. What the local service does not do (filters, ordering, exactly-once, unwrapped pushes, exports) is
/// refused rather than ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Subscription {
    #[serde(default)]
    pub(super) name: String,
    #[serde(default)]
    pub(super) topic: String,
    #[serde(default, alias = "push_config")]
    pub(super) push_config: PushConfig,
    #[serde(default, alias = "ack_deadline_seconds")]
    pub(super) ack_deadline_seconds: u32,
    #[serde(default, alias = "retain_acked_messages", skip_serializing_if = "is_default")]
    pub(super) retain_acked_messages: bool,
    #[serde(default = "default_retention", alias = "message_retention_duration")]
    pub(super) message_retention_duration: Duration,
    #[serde(default, skip_serializing_if = "is_default")]
    labels: BTreeMap<String, String>,
    #[serde(default, alias = "expiration_policy", skip_serializing_if = "is_default")]
    expiration_policy: Option<ExpirationPolicy>,
    #[serde(default, alias = "dead_letter_policy", skip_serializing_if = "is_default")]
    pub(super) dead_letter_policy: Option<DeadLetterPolicy>,
    #[serde(default, alias = "retry_policy", skip_serializing_if = "is_default")]
    pub(super) retry_policy: Option<RetryPolicy>,
    #[serde(default, skip_serializing_if = "is_default")]
    filter: String,
    #[serde(default, alias = "enable_message_ordering", skip_serializing_if = "is_default")]
    enable_message_ordering: bool,
    #[serde(default, alias = "enable_exactly_once_delivery", skip_serializing_if = "is_default")]
    enable_exactly_once_delivery: bool,
    /// Output only.
    #[serde(default)]
    state: State,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
enum State {
    #[default]
    Active,
}

/// Where messages are pushed; without an endpoint they wait to be pulled.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct PushConfig {
    #[serde(default, alias = "push_endpoint", skip_serializing_if = "is_default")]
    pub(super) push_endpoint: String,
    #[serde(default, skip_serializing_if = "is_default")]
    attributes: BTreeMap<String, String>,
    #[serde(default, alias = "oidc_token", skip_serializing_if = "is_default")]
    pub(super) oidc_token: Option<OidcToken>,
    #[serde(default, alias = "pubsub_wrapper", skip_serializing_if = "is_default")]
    pubsub_wrapper: Option<PubsubWrapper>,
}

/// The wrapped form of a push, which is the only one here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct PubsubWrapper {}

/// The account and audience of the token that a push carries.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct OidcToken {
    #[serde(default, alias = "service_account_email")]
    pub(super) service_account_email: String,
    #[serde(default, skip_serializing_if = "is_default")]
    pub(super) audience: String,
}

/// Accepted and shown; nothing expires here.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpirationPolicy {
    #[serde(default, skip_serializing_if = "is_default")]
    ttl: String,
}

/// When a message is given up and to which topic it goes then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct DeadLetterPolicy {
    #[serde(alias = "dead_letter_topic")]
    pub(super) dead_letter_topic: String,
    #[serde(default, alias = "max_delivery_attempts")]
    pub(super) max_delivery_attempts: u32,
}

/// How long a refused message waits: the first time at least the minimum, then twice as long each time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RetryPolicy {
    #[serde(default = "default_minimum_backoff", alias = "minimum_backoff")]
    pub(super) minimum_backoff: Duration,
    #[serde(default = "default_maximum_backoff", alias = "maximum_backoff")]
    pub(super) maximum_backoff: Duration,
}

impl Subscription {
    /// Fills in what zero stands for and checks the limits; whether topics exist is the caller's to find out.
    pub(super) fn checked(mut self) -> Result<Self, ApiError> {
        if self.ack_deadline_seconds == 0 {
            self.ack_deadline_seconds = 10;
        }
        within("ackDeadlineSeconds", i64::from(self.ack_deadline_seconds), 10, 600)?;
        let retention = self.message_retention_duration.millis() / 1000;
        within("messageRetentionDuration", retention, 600, 31 * DAY)?;
        if let Some(policy) = &mut self.dead_letter_policy {
            policy.dead_letter_topic = names::full_topic(&policy.dead_letter_topic)?;
            if policy.max_delivery_attempts == 0 {
                policy.max_delivery_attempts = 5;
            }
            within("maxDeliveryAttempts", i64::from(policy.max_delivery_attempts), 5, 100)?;
        }
        if let Some(policy) = &self.retry_policy {
            within("minimumBackoff", policy.minimum_backoff.millis(), 0, 600_000)?;
            within("maximumBackoff", policy.maximum_backoff.millis(), 0, 600_000)?;
            if policy.minimum_backoff > policy.maximum_backoff {
                return Err(ApiError::invalid("minimumBackoff is more than maximumBackoff."));
            }
        }
        if !self.filter.is_empty() {
            return Err(ApiError::unimplemented("filters"));
        }
        if self.enable_message_ordering {
            return Err(ApiError::unimplemented("message ordering"));
        }
        if self.enable_exactly_once_delivery {
            return Err(ApiError::unimplemented("exactly-once delivery"));
        }
        self.push_config = self.push_config.checked()?;
        Ok(self)
    }

    pub(super) fn is_push(&self) -> bool {
        !self.push_config.push_endpoint.is_empty()
    }
}

impl PushConfig {
    pub(super) fn checked(mut self) -> Result<Self, ApiError> {
        if let Some((name, value)) = self.attributes.iter().find(|(name, _)| *name != "x-goog-version") {
            let attribute =
                format!("the push attribute {}={}", name.escape_default(), value.escape_default());
            return Err(ApiError::unimplemented(&attribute));
        }
        if self.push_endpoint.is_empty() {
            if self.oidc_token.is_some() {
                return Err(ApiError::invalid("oidcToken needs a pushEndpoint."));
            }
            return Ok(self);
        }
        let endpoint: Uri =
            self.push_endpoint.parse().map_err(|_| ApiError::invalid("pushEndpoint is not a URL."))?;
        if endpoint.host().is_none_or(str::is_empty) {
            return Err(ApiError::invalid("pushEndpoint is not an absolute URL."));
        }
        if endpoint.scheme_str() != Some("http") {
            return Err(ApiError::unimplemented("push over anything but http"));
        }
        if let Some(token) = &mut self.oidc_token {
            if !token.service_account_email.contains('@') {
                return Err(ApiError::invalid("oidcToken.serviceAccountEmail is not an e-mail address."));
            }
            if token.audience.is_empty() {
                token.audience.clone_from(&self.push_endpoint);
            }
        }
        Ok(self)
    }
}

fn within(field: &str, value: i64, least: i64, most: i64) -> Result<(), ApiError> {
    if (least..=most).contains(&value) {
        Ok(())
    } else {
        Err(ApiError::invalid(format!("{field} is not between {least} and {most}.")))
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn default_retention() -> Duration {
    Duration::from_seconds(7 * DAY)
}

fn default_minimum_backoff() -> Duration {
    Duration::from_seconds(10)
}

fn default_maximum_backoff() -> Duration {
    Duration::from_seconds(600)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn check(fields: Value) -> Result<Subscription, ApiError> {
        let mut resource = json!({ "topic": "projects/p/topics/abc" });
        resource.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        serde_json::from_value::<Subscription>(resource).unwrap().checked()
    }

    #[test]
    fn zero_stands_for_googles_defaults() {
        let policy = json!({ "deadLetterTopic": "projects/p/topics/dead" });
        let resource = check(json!({ "deadLetterPolicy": policy, "retryPolicy": {} })).unwrap();
        let shown = json!(resource);
        assert_eq!(shown["ackDeadlineSeconds"], 10);
        assert_eq!(shown["messageRetentionDuration"], "604800s");
        assert_eq!(shown["deadLetterPolicy"]["maxDeliveryAttempts"], 5);
        assert_eq!(shown["retryPolicy"], json!({ "minimumBackoff": "10s", "maximumBackoff": "600s" }));
        assert_eq!(shown["pushConfig"], json!({}));
        assert_eq!(shown["state"], "ACTIVE");
    }

    #[test]
    fn limits_are_googles_and_what_is_not_there_is_refused() {
        let dead = |attempts: u32| {
            let topic = "projects/p/topics/dead";
            json!({ "deadLetterPolicy": { "deadLetterTopic": topic, "maxDeliveryAttempts": attempts } })
        };
        let push = |endpoint: &str| json!({ "pushConfig": { "pushEndpoint": endpoint } });
        for refused in [
            json!({ "ackDeadlineSeconds": 9 }),
            json!({ "ackDeadlineSeconds": 601 }),
            json!({ "messageRetentionDuration": "599s" }),
            json!({ "messageRetentionDuration": "2678401s" }),
            json!({ "retryPolicy": { "minimumBackoff": "601s", "maximumBackoff": "601s" } }),
            json!({ "retryPolicy": { "minimumBackoff": "20s", "maximumBackoff": "10s" } }),
            json!({ "filter": "attributes:a" }),
            json!({ "enableMessageOrdering": true }),
            json!({ "pushConfig": { "oidcToken": { "serviceAccountEmail": "a@b" } } }),
            dead(4),
            dead(101),
            push("https://example.com/"),
            push("/wal-playback"),
            push("not a url"),
        ] {
            assert!(check(refused.clone()).is_err(), "{refused}");
        }
        for accepted in [dead(100), push("http://127.0.0.1:8080/wal-playback")] {
            assert!(check(accepted.clone()).is_ok(), "{accepted}");
        }
    }

    #[test]
    fn the_audience_of_a_push_token_is_the_endpoint_unless_given() {
        let token = json!({ "serviceAccountEmail": "push@example.com" });
        let push = json!({ "pushConfig": { "pushEndpoint": "http://127.0.0.1:1/p", "oidcToken": token } });
        let resource = check(push).unwrap();
        assert_eq!(resource.push_config.oidc_token.unwrap().audience, "http://127.0.0.1:1/p");
    }
}
