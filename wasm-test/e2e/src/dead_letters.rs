//! A reader of the dead-letter topic: it is pushed to, so a test waits for a dead letter as for
//! any event.

use serde_json::Value;

use crate::http1::Request;
use crate::journal::PATIENCE;
use crate::pubsub::Message;
use crate::upstream::Upstream;

/// Acknowledges and keeps every dead letter.
#[derive(Debug)]
pub struct DeadLetters {
    endpoint: Upstream,
}

impl DeadLetters {
    /// Listens on a port.
    pub(crate) fn start(port: u16) -> Self {
        Self { endpoint: Upstream::start(port) }
    }

    /// The push endpoint.
    pub(crate) fn url(&self) -> String {
        self.endpoint.url()
    }

    /// Those whose data contain a text.
    pub fn with(&self, marker: &str) -> Vec<Message> {
        let pushed = self.endpoint.requests().matching(|push| holds(push, marker));
        pushed.iter().map(|push| message(push)).collect()
    }

    /// Waits for one whose data contain a text.
    ///
    /// # Panics
    /// When there is none after [`PATIENCE`].
    pub async fn wait_for(&self, marker: &str) -> Message {
        let requests = self.endpoint.requests();
        let found = |all: &[_]| all.iter().any(|push: &crate::Recorded| holds(push, marker));
        let came = requests.reaches(PATIENCE, found).await;
        assert!(came, "no dead letter with {marker} among {}", requests.len());
        self.with(marker).remove(0)
    }
}

fn holds(push: &Request, marker: &str) -> bool {
    message(push).contains(marker)
}

fn message(push: &Request) -> Message {
    let push: Value = push.json();
    Message::parse(&push["message"])
}
