//! What every request meets first, be it a client's, an agent's or an administrator's: its rule, the guard's mark,
//! this worker's lease.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::http::Refusal;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story, part};

use crate::admin::admin;
use crate::agent::agent;
use crate::client::client;
use crate::config::{self, Role, Settings};
use crate::parked::Exchange;
use crate::registry::Registry;
use crate::sessions::Sessions;
use crate::sole_worker::{SoleWorker, Unserved};

/// Names a request, to its agent and to a client whose request came to nothing.
pub(crate) const REQUEST_ID: &str = "x-inverting-proxy-request-id";

/// The filter as configured.
pub struct InvertingProxy {
    rules: Vec<(Match, Settings)>,
    pub(crate) registry: Registry,
    pub(crate) exchange: Rc<Exchange>,
    pub(crate) sessions: Sessions,
    worker: Rc<SoleWorker>,
}

impl InvertingProxy {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        let (rules, backends) = config::read(fields)?;
        let registry = Registry::new(backends, runtime.host().now_ms());
        let exchange = Exchange::new(config::limits(fields)?);
        let sessions = Sessions::new(config::session_limits(fields)?, config::session_cookies(&rules));
        let plugin = runtime.host().property(&["plugin_name"]).unwrap_or_default();
        let worker = SoleWorker::new(&String::from_utf8_lossy(&plugin));
        Ok(Rc::new(Self { rules, registry, exchange, sessions, worker }))
    }

    async fn handle(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let host = stream.host();
        let settings = first_fit(&self.rules, stream)?;
        // A guard whose line was forgotten in the proxy's configuration left no mark.
        if settings.marks.iter().any(|mark| host.property(&[mark]).as_deref() != Some(b"passed")) {
            return Err(NOT_GUARDED);
        }
        let exchange = self.exchange.clone();
        self.worker.serve(stream.runtime(), move || !exchange.is_idle()).map_err(|why| match why {
            Unserved::SeveralWorkers => SEVERAL_WORKERS,
            Unserved::NoRandomness => NO_RANDOMNESS,
        })?;
        match &settings.role {
            Role::Client(to) => Ok(part(client(self, stream, settings, to)).await),
            Role::Agent(agents) => part(agent(self, stream, settings, agents)).await,
            Role::Admin => Ok(part(admin(self, stream, settings)).await),
        }
    }
}

impl Filter for InvertingProxy {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.handle(&stream).await.into() })
    }
}

const NOT_GUARDED: Refusal =
    Refusal { status: 503, reason: "not_guarded", sentence: "This address is not set up." };

const SEVERAL_WORKERS: Refusal = Refusal {
    status: 503,
    reason: "several_workers",
    sentence: "This proxy runs with more than one worker, and clients and agents do not meet.",
};

pub(crate) const NO_RANDOMNESS: Refusal =
    Refusal { status: 503, reason: "no_randomness", sentence: "The request cannot be passed on right now." };

pub(crate) const TOO_LARGE: Refusal =
    Refusal { status: 413, reason: "too_large", sentence: "The body is larger than this address takes." };

pub(crate) const BUSY: Refusal =
    Refusal { status: 503, reason: "busy", sentence: "Too many requests wait. Please send it again." };

pub(crate) const WRONG_METHOD: Refusal =
    Refusal { status: 405, reason: "wrong_method", sentence: "This method is not for this address." };
