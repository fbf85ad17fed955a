//! How a gateway is described before it starts.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::answer::Answer;
use crate::clock;
use crate::gateway::{Backend, Gateway};
use crate::host::{Host, Plugin, Release, Settings};
use crate::http::{Request, Response};
use crate::observed::{Level, Logs};

/// Why a gateway did not start, with all that the module had logged by then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StartError {
    /// What went wrong.
    pub message: String,
    /// The log, in which a filter says what it does not like about its configuration.
    pub logs: Logs,
}

impl fmt::Display for StartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}\n{}", self.message, self.logs)
    }
}

impl std::error::Error for StartError {}

/// Describes a gateway; see [`Gateway::builder`].
pub struct Builder {
    wasm: Vec<u8>,
    settings: Settings,
    start: clock::Nanos,
    seed: u64,
    level: Level,
    backends: BTreeMap<String, Backend>,
    upstream: Backend,
}

impl Builder {
    pub(crate) fn new(wasm: &[u8]) -> Self {
        Self {
            wasm: wasm.to_vec(),
            settings: Settings {
                plugins: Vec::new(),
                vm_id: "wasm-test".to_owned(),
                environment: Vec::new(),
                clusters: Vec::new(),
                empty_clusters: Vec::new(),
                properties: Vec::new(),
                body_limit: 1024 * 1024,
                idle_timeout: Duration::from_mins(5),
                max_duration: None,
                reload: Some(Duration::from_secs(1)),
                release: Release::default(),
            },
            start: clock::DEFAULT_START,
            seed: 0,
            level: Level::default(),
            backends: BTreeMap::new(),
            upstream: backend(|_: &Request| Response::new(200).body("upstream")),
        }
    }

    /// Puts a filter at the end of the chain: its `root_id` and its configuration. All filters share
    /// one module and one VM.
    #[must_use]
    pub fn filter(mut self, root_id: &str, configuration: impl AsRef<[u8]>) -> Self {
        self.settings.plugins.push(Plugin {
            root_id: root_id.to_owned(),
            configuration: configuration.as_ref().to_vec(),
            stop_on_headers: false,
        });
        self
    }

    /// Sets `allow_on_headers_stop_iteration` for the filter that was added last: a pause in the
    /// headers callback then still lets the body come. Without it, nothing comes until the stream is
    /// resumed.
    #[must_use]
    pub fn allow_on_headers_stop_iteration(mut self) -> Self {
        if let Some(plugin) = self.settings.plugins.last_mut() {
            plugin.stop_on_headers = true;
        }
        self
    }

    /// Gives the VM an environment variable.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.settings.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Adds a cluster for calls. The function is asked once for each call, after the callback that
    /// made it. A cluster that is not added does not exist: calls to it are a `BadArgument`.
    #[must_use]
    pub fn backend<A: Into<Answer>>(
        mut self,
        cluster: &str,
        answer: impl FnMut(&Request) -> A + 'static,
    ) -> Self {
        self.settings.clusters.push(cluster.to_owned());
        self.backends.insert(cluster.to_owned(), backend(answer));
        self
    }

    /// Adds a cluster without hosts: calls to it fail at once, with `InternalFailure`.
    #[must_use]
    pub fn empty_cluster(mut self, cluster: &str) -> Self {
        self.settings.empty_clusters.push(cluster.to_owned());
        self
    }

    /// Says what the upstream does with a request that has passed the chain. Unless set, it answers
    /// 200 and `upstream`.
    #[must_use]
    pub fn upstream<A: Into<Answer>>(mut self, answer: impl FnMut(&Request) -> A + 'static) -> Self {
        self.upstream = backend(answer);
        self
    }

    /// Sets a property that the host does not know of itself, as `["xds", "route_name"]`, or
    /// replaces one that it does. The value is the bytes that Envoy would give: text as it is,
    /// integers as 8 bytes, little-endian.
    #[must_use]
    pub fn property(mut self, path: &[&str], value: impl AsRef<[u8]>) -> Self {
        let path = path.iter().map(|part| part.as_bytes().to_vec()).collect();
        self.settings.properties.push((path, value.as_ref().to_vec()));
        self
    }

    /// Sets the time at the start, 2026-11-22T04:00:00Z unless set.
    #[must_use]
    pub fn now(mut self, now: SystemTime) -> Self {
        let since = now.duration_since(UNIX_EPOCH).unwrap_or_default();
        self.start = u64::try_from(since.as_nanos()).unwrap_or(u64::MAX);
        self
    }

    /// Chooses another sequence of random bytes. With the same seed every run has the same.
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = seed;
        self
    }

    /// Sets `per_connection_buffer_limit_bytes`, 1 MiB unless set: what a filter may hold back.
    #[must_use]
    pub fn body_limit(mut self, bytes: usize) -> Self {
        self.settings.body_limit = bytes;
        self
    }

    /// Sets the route's `max_stream_duration`; there is none unless set.
    #[must_use]
    pub fn max_stream_duration(mut self, duration: Duration) -> Self {
        self.settings.max_duration = Some(duration);
        self
    }

    /// Sets the time without any traffic after which a stream is given up, 5 minutes unless set.
    #[must_use]
    pub fn stream_idle_timeout(mut self, duration: Duration) -> Self {
        self.settings.idle_timeout = duration;
        self
    }

    /// Sets the least time between two loads of a VM (`FAIL_RELOAD`), 1 s unless set. Envoy adds up
    /// to half of it at random.
    #[must_use]
    pub fn reload_interval(mut self, interval: Duration) -> Self {
        self.settings.reload = Some(interval);
        self
    }

    /// `FAIL_CLOSED`: a VM that died stays dead, and every request is answered 503.
    #[must_use]
    pub fn fail_closed(mut self) -> Self {
        self.settings.reload = None;
        self
    }

    /// Chooses the release to imitate where releases differ, the newest unless set.
    #[must_use]
    pub fn release(mut self, release: Release) -> Self {
        self.settings.release = release;
        self
    }

    /// Sets from where log lines are kept, info unless set; filters can ask for it.
    #[must_use]
    pub fn log_level(mut self, level: Level) -> Self {
        self.level = level;
        self
    }

    /// Loads the module, starts the VM, and configures each filter.
    ///
    /// # Errors
    ///
    /// When the module imports what the proxy does not have, or a filter refuses its configuration.
    /// The error carries the log.
    pub fn start(self) -> Result<Gateway, StartError> {
        let mut host = Host::new(self.settings, self.start, self.seed);
        host.log.level = self.level;
        Gateway::start(&self.wasm, host, self.backends, self.upstream)
    }
}

fn backend<A: Into<Answer>>(mut answer: impl FnMut(&Request) -> A + 'static) -> Backend {
    Rc::new(RefCell::new(move |request: &Request| answer(request).into()))
}
