//! A provider that people sign in with: its settings, its metadata and its keys.

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::fetch::{FetchError, Fetched, Shared};
use lockgate_common::host::Level;
use lockgate_common::json::Json;
use lockgate_common::jwks::{self, Algorithm, Keys};
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::SecretSource;
use lockgate_common::services::{Service, Services};

use crate::discovery::{self, Discovery, DiscoveryError};
use crate::identity::ClaimRules;

/// Metadata that is used is fetched again after this long, in milliseconds.
const REFRESH_MS: u64 = 3_600_000;

/// Through an outage the last good metadata is used this long, in milliseconds.
const KEEP_MS: u64 = 24 * 3_600_000;

/// Time for one answer of a provider, in milliseconds.
pub const CALL_MS: u64 = 4_000;

/// Time for everything that a sign-in asks its provider for, in milliseconds.
pub const DEADLINE_MS: u64 = 5_000;

/// Who is asked who somebody is.
pub struct Provider {
    /// Its name in rules, addresses and logs.
    pub name: String,
    /// Its name for people.
    pub title: String,
    /// Exactly as in its tokens.
    pub issuer: String,
    /// This relying party's id there.
    pub client_id: String,
    /// Absent for a public client, which PKCE protects alone.
    pub client_secret: Option<SecretSource>,
    /// Scopes, separated by spaces.
    pub scope: String,
    /// Further parameters of the authorization request.
    pub parameters: Vec<(String, String)>,
    /// What an ID token may be signed with.
    pub algorithms: Vec<Algorithm>,
    /// What `aud` may name beside the client id.
    pub audiences: Vec<String>,
    /// How its claims are read.
    pub claim_rules: ClaimRules,
    /// Whether signing out here signs out there.
    pub end_session: bool,
    /// Whether the ID token is kept for that.
    pub keep_id_token: bool,
    /// The path of its redirect URI. Each provider has its own, so that one cannot hand us another's
    /// code (RFC 9700, 4.4.2.2).
    pub callback_path: String,
    /// Metadata.
    pub discovery: Shared<Rc<Discovery>>,
    /// Signing keys.
    pub keys: Shared<Rc<Keys>>,
}

const SETTINGS: &[&str] = &[
    "name",
    "title",
    "issuer",
    "client_id",
    "client_secret",
    "scopes",
    "parameters",
    "algorithms",
    "audiences",
    "trust_email",
    "groups_claim",
    "end_session",
    "keep_id_token",
    "callback_path",
];

impl Provider {
    /// Reads one of `providers`.
    #[inline(never)]
    pub fn from_config(
        json: Json<'_>,
        path: &str,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let fields = Fields::new(json, path, SETTINGS)?;
        let name = fields.text("name", "a short name, as \"company\"")?;
        if !name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-') {
            return Err(fields.error("name", "lower-case letters, digits and hyphens"));
        }
        let issuer = issuer(&fields, services)?;
        let mut scopes = fields.texts("scopes")?;
        if scopes.is_empty() {
            scopes = ["openid", "email", "profile"].map(str::to_owned).to_vec();
        }
        if !scopes.iter().any(|scope| scope == "openid") {
            return Err(fields.error("scopes", "openid among them"));
        }
        let secret = fields.optional("client_secret");
        let client_secret = secret
            .map(|json| SecretSource::from_config(json, &fields.join("client_secret"), runtime, services))
            .transpose()?;
        let parameters = fields.optional("parameters").into_iter().flat_map(Json::members);
        let parameters: Option<Vec<(String, String)>> =
            parameters.map(|(name, value)| Some((name.into_owned(), value.str()?.into_owned()))).collect();
        let callback_path =
            fields.optional_text("callback_path")?.unwrap_or_else(|| "/_lockgate/callback".to_owned());
        let discovery = discovered(runtime, services, &issuer, true, &fields.join("issuer"));
        Ok(Self {
            title: fields.optional_text("title")?.unwrap_or_else(|| name.clone()),
            client_id: fields.text("client_id", "the id that the provider gave this application")?,
            client_secret,
            scope: scopes.join(" "),
            parameters: parameters.ok_or_else(|| fields.error("parameters", "an object of texts"))?,
            algorithms: algorithms(&fields)?,
            audiences: fields.texts("audiences")?,
            claim_rules: claim_rules(&fields)?,
            end_session: fields.flag("end_session", true)?,
            keep_id_token: fields.flag("keep_id_token", false)?,
            callback_path,
            keys: keys(runtime, &discovery),
            discovery,
            issuer,
            name,
        })
    }

    /// Its metadata, its keys and our secret there are had; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        let secret = self.client_secret.as_ref().is_none_or(SecretSource::prefetch);
        let (discovery, keys) = (self.discovery.prefetch(), self.keys.prefetch());
        discovery && keys && secret
    }
}

/// Reads `issuer`: https, or http where plain http is allowed; taken exactly as it is.
pub fn issuer(fields: &Fields<'_>, services: &Services) -> Result<String, ConfigError> {
    let expected = "an https address, or http on loopback, exactly as the issuer's tokens have it";
    let issuer = fields.text("issuer", expected)?;
    let fits = services.endpoint(&issuer).is_some() && !issuer.contains('?');
    if fits { Ok(issuer) } else { Err(fields.error("issuer", expected)) }
}

/// Reads `algorithms`.
pub fn algorithms(fields: &Fields<'_>) -> Result<Vec<Algorithm>, ConfigError> {
    let named = fields.texts("algorithms")?;
    let algorithm = |name: &String| match name.as_str() {
        "RS256" => Ok(Algorithm::Rs256),
        "ES256" => Ok(Algorithm::Es256),
        _ => Err(fields.error("algorithms", "RS256, ES256 or both")),
    };
    let algorithms: Vec<Algorithm> = named.iter().map(algorithm).collect::<Result<_, _>>()?;
    Ok(if algorithms.is_empty() { vec![Algorithm::Rs256, Algorithm::Es256] } else { algorithms })
}

/// Reads `trust_email` and `groups_claim`.
pub fn claim_rules(fields: &Fields<'_>) -> Result<ClaimRules, ConfigError> {
    Ok(ClaimRules {
        trust_email: fields.flag("trust_email", false)?,
        groups_claim: fields.optional_text("groups_claim")?.unwrap_or_else(|| "groups".to_owned()),
    })
}

/// The metadata of an issuer, fetched by the root. `field` is where the issuer was configured, and
/// `signs_in` whether people sign in with it.
pub fn discovered(
    runtime: &Rc<Runtime>,
    services: &Rc<Services>,
    issuer: &str,
    signs_in: bool,
    field: &str,
) -> Shared<Rc<Discovery>> {
    let (fetching, services) = (runtime.clone(), services.clone());
    let (issuer, field) = (issuer.to_owned(), field.to_owned());
    Shared::new(
        runtime,
        "discovery document",
        Box::new(move || {
            let (runtime, services) = (fetching.clone(), services.clone());
            let (issuer, field) = (issuer.clone(), field.clone());
            Box::pin(async move { fetch(&runtime, &services, &issuer, signs_in, &field).await })
        }),
    )
}

/// The keys of an issuer whose metadata says where they are.
pub fn keys(runtime: &Rc<Runtime>, discovery: &Shared<Rc<Discovery>>) -> Shared<Rc<Keys>> {
    let (discovery, asking) = (discovery.clone(), runtime.clone());
    jwks::shared_at(
        runtime,
        Box::new(move || {
            let (discovery, deadline) = (discovery.clone(), asking.host().now_ms() + DEADLINE_MS);
            Box::pin(async move { Some(discovery.value(deadline).await.ok()?.jwks_uri.clone()) })
        }),
    )
}

async fn fetch(
    runtime: &Rc<Runtime>,
    services: &Services,
    issuer: &str,
    signs_in: bool,
    field: &str,
) -> Result<Fetched<Rc<Discovery>>, FetchError> {
    let service: Service = services.endpoint(&discovery::address(issuer)).ok_or(FetchError::Unavailable)?;
    let mut call = service.anonymous_get("");
    call.timeout_ms = CALL_MS;
    let answer = runtime.call(call).await;
    if !answer.is_success() {
        return Err(FetchError::Unavailable);
    }
    let discovery = Discovery::parse(&answer.body, issuer, signs_in, services).map_err(|error| {
        let (reason, wrong) = match error {
            DiscoveryError::Malformed => ("is not a discovery document", "malformed"),
            DiscoveryError::Issuer => ("names another issuer; the two must be identical: ", "issuer"),
            DiscoveryError::Endpoint => ("names an endpoint that is not https, or is private", "endpoint"),
        };
        runtime.count(&["discovery", wrong]);
        let line =
            ["lockgate configuration: ", field, ": given ", issuer, ", but what it publishes ", reason];
        let mut line = line.concat();
        if error == DiscoveryError::Issuer {
            push_named(&mut line, &answer.body);
        }
        runtime.host().log(Level::Error, &line);
        FetchError::Unavailable
    })?;
    let now = runtime.host().now_ms();
    Ok(Fetched { value: Rc::new(discovery), refresh_ms: now + REFRESH_MS, expires_ms: now + KEEP_MS })
}

/// The issuer that a document names, as far as a log line can hold it.
fn push_named(line: &mut String, document: &[u8]) {
    let json = Json::parse(document).ok();
    let issuer = json.and_then(|json| json.field("issuer")?.str()).unwrap_or_default();
    line.extend(issuer.chars().take(200).map(|c| if c.is_ascii_graphic() { c } else { '?' }));
}
