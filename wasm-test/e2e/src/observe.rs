//! What a test asks of a stack: has it been stored, has it arrived, is there no trace of it.

use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use crate::http1::{Request, Response};
use crate::pubsub::{Message, published, subscription_name};
use crate::stack::{LOG_KEY, SUBSCRIPTION, Stack, TOPIC};
use crate::upstream::Recorded;
use crate::{Call, Envelope};

impl Stack {
    /// The messages with this marker that the queue has said to have stored, from any filter.
    pub fn stored(&self, marker: &str) -> Vec<Message> {
        let topic = format!("/topics/{TOPIC}:publish");
        let stored = |call: &Call| {
            let accepted = call.answer.as_ref().is_some_and(Response::is_success);
            accepted && call.request.path().ends_with(&topic)
        };
        let messages = self.proxy.calls().matching(stored).into_iter().flat_map(|c| published(&c.request));
        messages.filter(|message| message.contains(marker)).collect()
    }

    /// Waits for the first request with this marker at the upstream.
    pub async fn delivered(&self, marker: &str) -> Recorded {
        let requests = self.upstream.requests();
        requests.wait_for(marker, 1, |request| request.contains(marker)).await.swap_remove(0)
    }

    /// How a probe is answered once the filters have had two seconds to fetch what they need.
    pub async fn ready_soon(&self) -> u16 {
        let deadline = Instant::now() + Duration::from_secs(2);
        loop {
            let status = self.client().send(&Request::get("/_lockgate/ready")).await.status;
            if status < 300 || Instant::now() > deadline {
                return status;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Checks that nothing with this marker has gone anywhere: not to the upstream, not a byte of
    /// it, not into the queue, not to the dead letters.
    ///
    /// # Panics
    /// When something has.
    pub fn assert_no_trace(&self, marker: &str) {
        let reached = self.upstream.requests().matching(|request| request.contains(marker));
        assert!(reached.is_empty(), "{marker} reached the upstream: {reached:?}");
        let holds = |call: &Call| published(&call.request).iter().any(|message| message.contains(marker));
        let called = self.proxy.calls().matching(holds);
        assert!(called.is_empty(), "{marker} was published: {called:?}");
        assert_eq!(self.dead_letters.with(marker), [], "{marker} is a dead letter");
    }

    /// Pushes an envelope, sealed, as the queue would; the response is what the queue would see.
    pub async fn push(&self, envelope: &Envelope) -> Response {
        self.push_data(&envelope.sealed(LOG_KEY)).await
    }

    /// Pushes these data with a genuine token.
    pub async fn push_data(&self, data: &[u8]) -> Response {
        let token = self.push_token.get_or_init(|| self.tokens().push());
        let request = push_request(data, json!({})).header("authorization", format!("Bearer {token}"));
        self.client().send(&request).await
    }
}

/// A push as the queue makes it, without a token.
pub fn push_request(data: &[u8], attributes: Value) -> Request {
    let push = json!({
        "message": {
            "attributes": attributes,
            "data": STANDARD.encode(data),
            "messageId": "7",
            "message_id": "7",
            "publishTime": "2026-11-22T04:00:00.000Z",
            "publish_time": "2026-11-22T04:00:00.000Z",
        },
        "subscription": subscription_name(SUBSCRIPTION),
        "deliveryAttempt": 1,
    });
    Request::post("/wal-playback", "application/json", push.to_string())
}
