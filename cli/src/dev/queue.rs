//! The topics and subscriptions of a laptop, as Terraform makes them elsewhere.

use std::net::SocketAddr;

use serde_json::json;

use crate::google::{Error, PubSub};

/// The stand-in's only project.
const PROJECT: &str = "projects/lockgate-local";

/// Whom pushes are signed for.
pub(super) const PUSH_ACCOUNT: &str = "push@lockgate-local.iam.gserviceaccount.com";

/// Names, in full.
pub(super) struct Queue {
    pub(super) topic: String,
    pub(super) dead_letter_topic: String,
    pub(super) dead_letter_subscription: String,
    playback: String,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self {
            topic: format!("{PROJECT}/topics/lockgate"),
            dead_letter_topic: format!("{PROJECT}/topics/lockgate-dead"),
            dead_letter_subscription: format!("{PROJECT}/subscriptions/lockgate-dead"),
            playback: format!("{PROJECT}/subscriptions/lockgate-playback"),
        }
    }

    /// Creates what is missing, and points pushes at where the chain listens now.
    pub(super) fn create(&self, services: SocketAddr, audience: &str) -> Result<(), Error> {
        let base = format!("http://{services}");
        let pubsub = PubSub::of_this_machine(&base, &base)?;
        pubsub.create(&self.topic, &json!({}))?;
        pubsub.create(&self.dead_letter_topic, &json!({}))?;
        let kept = json!({
            "topic": self.dead_letter_topic,
            "ackDeadlineSeconds": 60,
            "messageRetentionDuration": "2678400s",
            "expirationPolicy": {},
        });
        pubsub.create(&self.dead_letter_subscription, &kept)?;
        let push = json!({
            "pushEndpoint": audience,
            "oidcToken": {"serviceAccountEmail": PUSH_ACCOUNT, "audience": audience},
        });
        let playback = json!({
            "topic": self.topic,
            "ackDeadlineSeconds": 600,
            "pushConfig": push,
            "retryPolicy": {"minimumBackoff": "10s", "maximumBackoff": "600s"},
            "deadLetterPolicy": {"deadLetterTopic": self.dead_letter_topic, "maxDeliveryAttempts": 100},
            "expirationPolicy": {},
        });
        if !pubsub.create(&self.playback, &playback)? {
            pubsub.post(&format!("{}:modifyPushConfig", self.playback), &json!({"pushConfig": push}))?;
        }
        Ok(())
    }
}
