//! Values that cannot be printed, and where they come from.

use std::rc::Rc;

use crate::access_token::AccessTokens;
use crate::config::{ConfigError, Fields};
use crate::fetch::{FetchError, Fetched, Shared};
use crate::json::Json;
use crate::runtime::Runtime;
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

/// A secret fetched from Secret Manager is fetched again after this long, in milliseconds.
const REFRESH_MS: u64 = 300_000;

/// Where a configured secret comes from.
pub enum SecretSource {
    /// The environment, read at configuration.
    Fixed(Rc<Secret>),
    /// Secret Manager, fetched by the root when first used.
    Fetched(Shared<Rc<Secret>>),
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
        Ok(Self::Fetched(Shared::new(
            runtime,
            "secret",
            Box::new(move || {
                let (runtime, services) = (fetching.clone(), services.clone());
                let (tokens, resource) = (tokens.clone(), resource.clone());
                Box::pin(async move { fetch(&runtime, &services, &tokens, &resource).await })
            }),
        )))
    }

    /// Whether the value is there; a fetch is started where it is not.
    pub fn prefetch(&self) -> bool {
        match self {
            Self::Fixed(_) => true,
            Self::Fetched(shared) => shared.prefetch(),
        }
    }

    /// The value, waiting until `deadline` (milliseconds since 1970) where it has to be fetched.
    pub async fn value(&self, deadline: u64) -> Result<Rc<Secret>, FetchError> {
        match self {
            Self::Fixed(secret) => Ok(secret.clone()),
            Self::Fetched(shared) => shared.value(deadline).await,
        }
    }

    /// The value as fetched after now, where the throttle allows: for a signature that does not
    /// match because the secret was rotated. `None` where there is nothing newer to be had.
    pub async fn newer(&self, deadline: u64) -> Option<Rc<Secret>> {
        match self {
            Self::Fixed(_) => None,
            Self::Fetched(shared) => shared.newer(deadline).await.ok().flatten(),
        }
    }
}

/// `GET …:access` (Secret Manager, projects.secrets.versions.access); the payload is standard
/// base64. The last value stays good for as long as a new one cannot be had.
async fn fetch(
    runtime: &Rc<Runtime>,
    services: &Services,
    tokens: &AccessTokens,
    resource: &str,
) -> Result<Fetched<Rc<Secret>>, FetchError> {
    let deadline = runtime.host().now_ms() + services.timeout_ms;
    let token = tokens.value(deadline).await?;
    let mut path = String::from("/v1/");
    path.push_str(resource);
    path.push_str(":access");
    let answer = runtime.call(services.secret_manager.get(&path, &token)).await;
    if answer.status == 401 {
        tokens.forget();
    }
    let value = answer
        .is_success()
        .then(|| Json::parse(&answer.body).ok())
        .flatten()
        .and_then(|json| json.pointer("/payload/data")?.str())
        .and_then(|data| crate::encoding::from_base64(data.as_bytes()))
        .filter(|bytes| !bytes.is_empty())
        .ok_or(FetchError::Unavailable)?;
    let now = runtime.host().now_ms();
    Ok(Fetched { value: Rc::new(Secret::new(value)), refresh_ms: now + REFRESH_MS, expires_ms: u64::MAX })
}

fn is_secret_version(resource: &str) -> bool {
    let parts: Vec<&str> = resource.split('/').collect();
    let named = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:".contains(&b))
    };
    matches!(parts.as_slice(), ["projects", p, "secrets", s, "versions", v] if named(p) && named(s) && named(v))
}
