//! One token for many requests: fetched by the root, one fetch at a time, used until shortly before its
//! end, and fetched again behind the requests from four fifths of its life on.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::fetch::{FetchError, Fetched, Shared};
use lockgate_common::json::Json;
use lockgate_common::runtime::{Runtime, Story};
use lockgate_common::secret::{Secret, SecretSource};
use lockgate_common::services::Services;

use crate::key::{self, KeyFile};
use crate::{metadata, token};

/// A token is not used in the last minute of its life, in seconds: it has to arrive, too.
const MARGIN_S: u64 = 60;

/// The header's value, `Bearer …`, for one audience.
pub struct Identity(Shared<Rc<Secret>>);

impl Identity {
    /// Of the machine's own account, as its metadata server says it.
    pub fn of_this_machine(audience: &str, runtime: &Rc<Runtime>, services: &Rc<Services>) -> Self {
        let (audience, services) = (audience.to_owned(), services.clone());
        let path = metadata::path(&audience);
        Self::fetched(
            runtime,
            audience,
            Box::new(move |runtime| {
                let call = services.metadata.metadata_get(&path);
                Box::pin(async move { metadata::token(&runtime.call(call).await) })
            }),
        )
    }

    /// Of the account that the key in `json` is of. A key from the environment is read and tried now.
    pub fn by_key(
        json: Json<'_>,
        fields: &Fields<'_>,
        audience: &str,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let source = SecretSource::from_config(json, &fields.join("key"), runtime, services)?;
        // The given value is not repeated in the error: it is a secret.
        let wrong = |expected: &str| ConfigError {
            field: fields.join("key"),
            given: "another value".to_owned(),
            expected: expected.to_owned(),
        };
        if let SecretSource::Fixed(secret) = &source {
            let key = KeyFile::parse(secret).filter(|key| key.endpoint(services).is_some());
            let key = key.ok_or_else(|| wrong(key::FORM))?;
            key.assertion(runtime.host(), audience).map_err(|error| wrong(key::expected(error)))?;
        }
        let (source, services, audience) = (Rc::new(source), services.clone(), audience.to_owned());
        let target = audience.clone();
        Ok(Self::fetched(
            runtime,
            audience,
            Box::new(move |runtime| {
                let (source, services, target) = (source.clone(), services.clone(), target.clone());
                Box::pin(async move { key::exchange(&source, &services, &target, &runtime).await })
            }),
        ))
    }

    fn fetched(runtime: &Rc<Runtime>, audience: String, ask: Ask) -> Self {
        let fetching = runtime.clone();
        let (audience, ask) = (Rc::<str>::from(audience), Rc::new(ask));
        Self(Shared::new(
            runtime,
            "identity token",
            Box::new(move || {
                let (runtime, audience, ask) = (fetching.clone(), audience.clone(), ask.clone());
                Box::pin(async move {
                    runtime.count(&["fetches"]);
                    let said = ask(runtime.clone()).await;
                    let usable = said.and_then(|said| usable(&said, &audience, runtime.host().now_ms()));
                    if usable.is_none() {
                        runtime.count(&["fetch_failed"]);
                    }
                    usable.ok_or(FetchError::Unavailable)
                })
            }),
        ))
    }

    /// The header's value, waiting until `deadline` (ms since 1970) where it has to be fetched.
    pub async fn credentials(&self, deadline: u64) -> Result<Rc<Secret>, FetchError> {
        self.0.value(deadline).await
    }

    /// Whether a token is there; asked for where it is not.
    pub fn is_ready(&self) -> bool {
        self.0.prefetch()
    }
}

/// Asks for a token: what was said, where anything was.
type Ask = Box<dyn Fn(Rc<Runtime>) -> Story<Option<Vec<u8>>>>;

fn usable(said: &[u8], audience: &str, now_ms: u64) -> Option<Fetched<Rc<Secret>>> {
    let said = said.trim_ascii();
    let life_s = token::expires_s(said, audience)?.checked_sub(now_ms / 1_000).filter(|life| *life > 0)?;
    // A metadata server may hand out one that is about to end.
    let usable_ms = life_s.saturating_sub(MARGIN_S).max(life_s / 2) * 1_000;
    Some(Fetched {
        value: Rc::new(Secret::new([b"Bearer ", said].concat())),
        refresh_ms: now_ms + usable_ms / 5 * 4,
        expires_ms: now_ms + usable_ms,
    })
}
