//! How a stack is put together: its settings, its start, its queue.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use serde_json::json;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::dead_letters::DeadLetters;
use crate::emulator::Emulator;
use crate::fault_proxy::FaultProxy;
use crate::istio::{GROUP, METADATA, Mesh, SERVICES};
use crate::ports::free_port;
use crate::pubsub::topic_name;
use crate::stack::{
    CONFIG, DEAD_LETTER_SUBSCRIPTION, DEAD_LETTER_TOPIC, PUSH_ACCOUNT, SUBSCRIPTION, Stack, TOPIC, loopback,
};
use crate::upstream::Upstream;
use crate::watchdog;

/// What a stack is to be.
#[derive(Clone, Debug)]
pub struct Builder {
    pub(crate) config: String,
    pub(crate) variables: Vec<(String, String)>,
    pub(crate) concurrency: u8,
    pub(crate) mesh: Option<Mesh>,
    pub(crate) upstream_url: Option<String>,
    pub(crate) emulator: Option<PathBuf>,
    pub(crate) max_delivery_attempts: u32,
    pub(crate) backoff: [&'static str; 2],
}

impl Default for Builder {
    fn default() -> Self {
        Self {
            config: CONFIG.to_owned(),
            variables: Vec::new(),
            concurrency: 1,
            mesh: None,
            upstream_url: None,
            emulator: chosen_emulator(),
            max_delivery_attempts: 100,
            backoff: ["0s", "1s"],
        }
    }
}

/// `E2E_QUEUE=emulator` puts Google's emulator under every stack.
fn chosen_emulator() -> Option<PathBuf> {
    let chosen = std::env::var_os("E2E_QUEUE").is_some_and(|queue| queue == "emulator");
    chosen.then(|| Emulator::installed().unwrap_or_else(|reason| panic!("E2E_QUEUE: {reason}")))
}

impl Builder {
    /// Another configuration; it may use the variables of the default one.
    pub fn config(mut self, config: &str) -> Self {
        config.clone_into(&mut self.config);
        self
    }

    /// Sets a variable of `lockgate run`, instead of the one the kit sets.
    pub fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Envoy's worker threads; 1 unless set.
    pub fn concurrency(mut self, workers: u8) -> Self {
        self.concurrency = workers;
        self
    }

    /// Envoy as a mesh runs it, in the place of `lockgate run`.
    pub fn mesh(mut self, mesh: Mesh) -> Self {
        self.mesh = Some(mesh);
        // No host of a mesh is an address.
        self.variable("GOOGLE_API_BASE", SERVICES).variable("METADATA_BASE", METADATA)
    }

    /// Another upstream than the recording one, which is then not reached.
    pub fn upstream(mut self, address: SocketAddr) -> Self {
        self.upstream_url = Some(format!("http://{address}"));
        self
    }

    /// Google's emulator as the queue, in the place of the local services; see
    /// [`Emulator::installed`].
    pub fn emulator(mut self, program: &Path) -> Self {
        self.emulator = Some(program.to_owned());
        self
    }

    /// After how many failed pushes the queue itself dead-letters a message; 100 unless set, 5 at
    /// least.
    pub fn max_delivery_attempts(mut self, attempts: u32) -> Self {
        self.max_delivery_attempts = attempts;
        self
    }

    /// The shortest and the longest wait between two pushes of a message, as the API writes
    /// durations; `0s` and `1s` unless set.
    pub fn backoff(mut self, shortest: &'static str, longest: &'static str) -> Self {
        self.backoff = [shortest, longest];
        self
    }

    /// Starts everything, and returns when the chain serves.
    ///
    /// # Panics
    /// When a part does not start; with what it printed.
    pub async fn start(self) -> Stack {
        let directory = TempDir::with_prefix("lockgate-e2e-").expect("a temporary directory");
        watchdog::guard_directory(directory.path());
        let group = if self.mesh.is_some() { GROUP } else { "" };
        let config = [self.config.as_str(), group].concat();
        std::fs::write(directory.path().join("lockgate.yaml"), config).expect("write");
        let services = loopback(free_port());
        let state = directory.path().join("services");
        let emulator = self.emulator.as_deref().map(|program| Emulator::start(program, services, &state));
        let google = emulator.as_ref().map_or(services, Emulator::address);
        let stack = Stack {
            upstream: Upstream::start(free_port()),
            proxy: FaultProxy::start(free_port(), google),
            dead_letters: DeadLetters::start(free_port()),
            gateway: loopback(free_port()),
            admin: loopback(free_port()),
            services,
            emulator,
            builder: self,
            directory,
            gateway_log: Arc::default(),
            services_log: Arc::default(),
            gateway_process: Mutex::default(),
            services_process: Mutex::default(),
            gateway_serves: watch::Sender::new(false),
            push_token: OnceLock::new(),
        };
        stack.start_services().await;
        if let Some(emulator) = &stack.emulator {
            emulator.ready().await;
        }
        stack.create_queue().await;
        stack.start_gateway().await;
        stack
    }
}

impl Stack {
    async fn create_queue(&self) {
        let pubsub = self.pubsub();
        for topic in [TOPIC, DEAD_LETTER_TOPIC] {
            pubsub.create_topic(topic).await;
        }
        let kept = json!({"topic": topic_name(DEAD_LETTER_TOPIC), "ackDeadlineSeconds": 60});
        pubsub.create_subscription(DEAD_LETTER_SUBSCRIPTION, kept).await;
        let watched = json!({
            "topic": topic_name(DEAD_LETTER_TOPIC),
            "pushConfig": {"pushEndpoint": self.dead_letters.url()},
        });
        pubsub.create_subscription("dead-letters-seen", watched).await;
        let [shortest, longest] = self.builder.backoff;
        let playback = json!({
            "topic": topic_name(TOPIC),
            "ackDeadlineSeconds": 600,
            "pushConfig": {
                "pushEndpoint": self.push_audience(),
                "oidcToken": {
                    "serviceAccountEmail": PUSH_ACCOUNT,
                    "audience": self.push_audience(),
                },
            },
            "retryPolicy": {"minimumBackoff": shortest, "maximumBackoff": longest},
            "deadLetterPolicy": {
                "deadLetterTopic": topic_name(DEAD_LETTER_TOPIC),
                "maxDeliveryAttempts": self.builder.max_delivery_attempts,
            },
        });
        pubsub.create_subscription(SUBSCRIPTION, playback).await;
    }
}
