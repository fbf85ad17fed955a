//! The request's story.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::flow::{Filter, Stream, Verdict};
use lockgate_common::host::Map;
use lockgate_common::http::Refusal;
use lockgate_common::readiness::all_ready;
use lockgate_common::rules::{Match, first_fit};
use lockgate_common::runtime::{Runtime, Story};

use crate::config::{self, SERVERLESS, Settings};

/// The filter as configured.
pub struct UpstreamIdentity {
    rules: Vec<(Match, Settings)>,
}

impl UpstreamIdentity {
    /// Reads the configuration.
    pub fn configure(fields: &Fields<'_>, runtime: &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError> {
        Ok(Rc::new(Self { rules: config::rules(fields, runtime)? }))
    }

    async fn introduce(&self, stream: &Stream) -> Result<Verdict, Refusal> {
        let settings = first_fit(&self.rules, stream)?;
        let host = stream.host();
        let deadline = host.now_ms() + settings.deadline_ms;
        let credentials = settings.identity.credentials(deadline).await.map_err(|_| NO_IDENTITY)?;
        // The mark first: the header writes behind it make the proxy choose the route anew.
        host.set_property("lockgate_upstream_identity", b"passed");
        // Cloud Run looks at this one before `Authorization`, so a client's must not stand there either way.
        if settings.header != SERVERLESS {
            host.set_header(Map::Request, SERVERLESS, None);
        }
        host.set_header(Map::Request, settings.header, Some(credentials.expose()));
        Ok(Verdict::Continue)
    }
}

impl Filter for UpstreamIdentity {
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict> {
        Box::pin(async move { self.introduce(&stream).await.into() })
    }

    fn is_ready(&self) -> bool {
        all_ready(self.rules.iter().map(|(_, settings)| settings.identity.is_ready()))
    }
}

const NO_IDENTITY: Refusal = Refusal {
    status: 503,
    reason: "no_identity",
    sentence: "The service cannot be reached right now. Please try again.",
};
