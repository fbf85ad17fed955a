//! Values that cannot be printed, and where they come from.

use std::cell::RefCell;
use std::rc::Rc;

use crate::access_token::AccessTokens;
use crate::config::{ConfigError, Fields};
use crate::fetch::{Fetch, FetchError, Fetched, Shared, Throttle};
use crate::json::Json;
use crate::runtime::{MAX_WAITING, Runtime};
use crate::services::Services;

/// Bytes that no log line or error can hold: there is no `Debug`, no `Display`, no serialisation.
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes in.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// The bytes, for a computation.
    pub fn expose(&self) -> &[u8] {
        &self.0
    }
}

/// What was made of a secret, kept until another secret comes.
pub struct Parsed<T> {
    parse: fn(&Secret) -> Option<T>,
    last: RefCell<Option<(Rc<Secret>, Rc<T>)>>,
}

impl<T> Parsed<T> {
    /// Nothing yet. `parse` says `None` of a secret that is not of the form that it has to be of.
    pub fn by(parse: fn(&Secret) -> Option<T>) -> Self {
        Self { parse, last: RefCell::default() }
    }

    /// What was made of this secret, if it is the last one.
    pub fn known(&self, secret: &Rc<Secret>) -> Option<Rc<T>> {
        let last = self.last.borrow();
        let (known, parsed) = last.as_ref()?;
        Rc::ptr_eq(known, secret).then(|| parsed.clone())
    }

    /// What is made of this secret.
    pub fn of(&self, secret: &Rc<Secret>) -> Option<Rc<T>> {
        if let Some(parsed) = self.known(secret) {
            return Some(parsed);
        }
        let parsed = Rc::new((self.parse)(secret)?);
        self.last.replace(Some((secret.clone(), parsed.clone())));
        Some(parsed)
    }
}

/// A secret fetched from Secret Manager is fetched again behind its use after this long, in milliseconds.
const REFRESH_MS: u64 = 240_000;

/// A secret that was fetched longer ago is not used before it has been asked for again, in milliseconds:
/// nobody may have used it for hours, and it may have been replaced since.
const FRESH_MS: u64 = 300_000;

/// A signature that does not fit may be one by a newer secret, so a quarter of the streams that may wait
/// wait half a second for a look. A flood of forged ones makes each worker ask twice a second.
const THROTTLE: Throttle = Throttle { interval_ms: 500, may_wait: MAX_WAITING / 4 };

/// Where a configured secret comes from.
pub enum SecretSource {
    /// The environment, read at configuration.
    Fixed(Rc<Secret>),
    /// Secret Manager, fetched by the root.
    Fetched(FetchedSecret),
}

/// A secret that can be replaced while it is in use.
pub struct FetchedSecret {
    runtime: Rc<Runtime>,
    shared: Shared<Rc<Secret>>,
    versions: Rc<RefCell<Versions>>,
}

/// What was fetched so far.
#[derive(Default)]
struct Versions {
    latest: Option<Rc<Secret>>,
    /// The one before, and when it was replaced (ms since 1970).
    previous: Option<(Rc<Secret>, u64)>,
}

impl Versions {
    /// Takes in what was fetched. Bytes that are known already stay the value that they are.
    fn take(&mut self, bytes: Vec<u8>, now_ms: u64) -> Rc<Secret> {
        match &self.latest {
            Some(latest) if latest.0 == bytes => latest.clone(),
            _ => {
                let secret = Rc::new(Secret(bytes));
                let before = self.latest.replace(secret.clone());
                self.previous = before.map(|before| (before, now_ms));
                secret
            }
        }
    }
}

impl SecretSource {
    /// Reads `{"env": NAME}` or `{"sm": "projects/…/versions/…"}`. An environment variable that is
    /// missing or empty is an error; one that begins with `sm://` names a Secret Manager version.
    pub fn from_config(
        json: Json<'_>,
        path: &str,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let fields = Fields::new(json, path, &["env", "sm"])?;
        let resource = match (fields.optional_text("env")?, fields.optional_text("sm")?) {
            (Some(name), None) => {
                let Some(value) = runtime.host().env(&name) else {
                    return Err(fields.error("env", "the name of an environment variable that is set"));
                };
                match value.strip_prefix("sm://") {
                    Some(resource) => resource.to_owned(),
                    None => return Ok(Self::Fixed(Rc::new(Secret::new(value.into_bytes())))),
                }
            }
            (None, Some(resource)) => resource,
            _ => return Err(fields.error("env", "either \"env\" or \"sm\"")),
        };
        if !is_secret_version(&resource) {
            return Err(fields.error("sm", "projects/P/secrets/S/versions/V"));
        }
        let services = services.clone();
        let tokens = AccessTokens::new(runtime, &services);
        let fetching = runtime.clone();
        let versions = Rc::new(RefCell::new(Versions::default()));
        let taking = versions.clone();
        let fetch: Fetch<Rc<Secret>> = Box::new(move || {
            let (runtime, services, versions) = (fetching.clone(), services.clone(), taking.clone());
            let (tokens, resource) = (tokens.clone(), resource.clone());
            Box::pin(async move {
                let bytes = fetch(&runtime, &services, &tokens, &resource).await?;
                let now = runtime.host().now_ms();
                let value = versions.borrow_mut().take(bytes, now);
                Ok(Fetched { value, refresh_ms: now + REFRESH_MS, expires_ms: now + FRESH_MS })
            })
        });
        let shared = Shared::throttled(runtime, "secret", THROTTLE, fetch);
        Ok(Self::Fetched(FetchedSecret { runtime: runtime.clone(), shared, versions }))
    }

    /// Whether the value is there; a fetch is started where it is not.
    pub fn prefetch(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Fetched(fetched) => fetched.shared.prefetch() || fetched.versions.borrow().latest.is_some(),
        }
    }

    /// The value, waiting until `deadline` (milliseconds since 1970) where it has to be fetched. The last one
    /// stays good for as long as Secret Manager does not give another.
    pub async fn value(&self, deadline: u64) -> Result<Rc<Secret>, FetchError> {
        match self {
            Self::Fixed(secret) => Ok(secret.clone()),
            Self::Fetched(fetched) => {
                let value = fetched.shared.value(deadline).await;
                value.or_else(|error| fetched.versions.borrow().latest.clone().ok_or(error))
            }
        }
    }

    /// The value as fetched after now, where the throttle allows: for a signature that does not
    /// match because the secret was rotated. `None` where there is nothing newer to be had.
    pub async fn newer(&self, deadline: u64) -> Option<Rc<Secret>> {
        match self {
            Self::Fixed(_) => None,
            Self::Fetched(fetched) => fetched.shared.newer(deadline).await.ok().flatten(),
        }
    }

    /// The value that the present one replaced, for `overlap_ms` after that was seen.
    pub fn previous(&self, overlap_ms: u64) -> Option<Rc<Secret>> {
        let Self::Fetched(FetchedSecret { runtime, versions, .. }) = self else { return None };
        let versions = versions.borrow();
        let (secret, replaced_ms) = versions.previous.as_ref()?;
        (runtime.host().now_ms() < replaced_ms + overlap_ms).then(|| secret.clone())
    }
}

/// `GET …:access` (Secret Manager, projects.secrets.versions.access); the payload is standard
/// base64.
async fn fetch(
    runtime: &Rc<Runtime>,
    services: &Services,
    tokens: &AccessTokens,
    resource: &str,
) -> Result<Vec<u8>, FetchError> {
    let deadline = runtime.host().now_ms() + services.timeout_ms;
    let token = tokens.value(deadline).await?;
    let mut path = String::from("/v1/");
    path.push_str(resource);
    path.push_str(":access");
    let answer = runtime.call(services.secret_manager.get(&path, &token)).await;
    if answer.status == 401 {
        tokens.forget();
    }
    answer
        .is_success()
        .then(|| Json::parse(&answer.body).ok())
        .flatten()
        .and_then(|json| json.pointer("/payload/data")?.str())
        .and_then(|data| crate::encoding::from_base64(data.as_bytes()))
        .filter(|bytes| !bytes.is_empty())
        .ok_or(FetchError::Unavailable)
}

fn is_secret_version(resource: &str) -> bool {
    let parts: Vec<&str> = resource.split('/').collect();
    let named = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    matches!(parts.as_slice(), ["projects", p, "secrets", s, "versions", v] if named(p) && named(s) && named(v))
}
