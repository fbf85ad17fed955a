//! What the proxy remembers: one worker's VM, its streams, its calls, and all that a test may ask.

pub(crate) mod buffers;
pub(crate) mod calls;
pub(crate) mod contexts;
pub(crate) mod foreign;
pub(crate) mod headers;
pub(crate) mod imports;
pub(crate) mod log;
pub(crate) mod metrics;
pub(crate) mod properties;
pub(crate) mod shared;
pub(crate) mod wasi;

use std::rc::Rc;
use std::time::Duration;

use wasmtime::{StoreLimits, StoreLimitsBuilder};

use crate::clock::{Clock, Nanos};
use crate::events::Event;
use crate::filter_chain::Stream;
use crate::host::calls::Callout;
use crate::host::contexts::VmState;
use crate::host::log::Log;
use crate::host::metrics::Metrics;
use crate::host::shared::Shared;
use crate::observed::HostCalls;

/// One plugin of the chain, as the builder was told.
#[derive(Clone, Debug)]
pub(crate) struct Plugin {
    pub(crate) root_id: String,
    pub(crate) configuration: Vec<u8>,
    pub(crate) stop_on_headers: bool,
}

/// What the builder was told, and what does not change while the gateway runs.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) plugins: Vec<Plugin>,
    pub(crate) vm_id: String,
    pub(crate) environment: Vec<(String, String)>,
    pub(crate) clusters: Vec<String>,
    pub(crate) empty_clusters: Vec<String>,
    pub(crate) properties: Vec<(Vec<Vec<u8>>, Vec<u8>)>,
    pub(crate) body_limit: usize,
    pub(crate) idle_timeout: Duration,
    pub(crate) max_duration: Option<Duration>,
    pub(crate) reload: Option<Duration>,
    pub(crate) release: Release,
}

/// Which Envoy is imitated where releases differ.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Release {
    /// 1.36: no `sign`, no PEM keys in `verify_signature`, no sleeping; a chunk that comes after a
    /// stream was resumed in the middle of its body is lost (fixed in 1.40).
    V1_36,
    /// 1.40.
    #[default]
    V1_40,
}

/// The state of one worker.
pub(crate) struct Host {
    pub(crate) settings: Rc<Settings>,
    pub(crate) clock: Clock<Event>,
    pub(crate) vm: VmState,
    pub(crate) streams: Vec<Stream>,
    /// The streams whose request has reached the upstream as a whole, in that order.
    pub(crate) asked: Vec<usize>,
    pub(crate) calls: Vec<Callout>,
    pub(crate) shared: Shared,
    pub(crate) metrics: Metrics,
    pub(crate) log: Log,
    pub(crate) host_calls: HostCalls,
    pub(crate) traps: Vec<String>,
    pub(crate) limits: StoreLimits,
    random: u64,
}

/// What a VM may grow to in Envoy.
const MAX_MEMORY: usize = 1024 * 1024 * 1024;

impl Host {
    pub(crate) fn new(settings: Settings, now: Nanos, seed: u64) -> Self {
        Self {
            settings: Rc::new(settings),
            clock: Clock::new(now),
            vm: VmState::default(),
            streams: Vec::new(),
            asked: Vec::new(),
            calls: Vec::new(),
            shared: Shared::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            host_calls: HostCalls::default(),
            traps: Vec::new(),
            limits: StoreLimitsBuilder::new().memory_size(MAX_MEMORY).build(),
            random: seed,
        }
    }

    /// Plans an event.
    pub(crate) fn plan(&mut self, delay: Duration, event: Event) {
        self.clock.plan(delay, event);
    }

    /// Notes that the VM failed; from here on it is not called again.
    pub(crate) fn trap(&mut self, error: &wasmtime::Error) {
        if self.vm.fail() {
            let message = format!("Wasm VM failed: {error:#}");
            self.log.envoy(&message);
            self.traps.push(message);
        }
    }

    /// The next 8 random bytes (SplitMix64): unlike the real ones, the same in every run.
    pub(crate) fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.random;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// A host call's result (proxy-wasm ABI 0.2.1, `proxy_result_t`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Status {
    Ok = 0,
    NotFound = 1,
    BadArgument = 2,
    InvalidMemoryAccess = 6,
    Empty = 7,
    CasMismatch = 8,
    InternalFailure = 10,
    Unimplemented = 12,
}

/// Host functions hand over what they got; memory that is not there is the VM's mistake.
impl From<Option<()>> for Status {
    fn from(written: Option<()>) -> Self {
        match written {
            Some(()) => Self::Ok,
            None => Self::InvalidMemoryAccess,
        }
    }
}
