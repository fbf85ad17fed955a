//! Tokens that only their issuer can read: introspection (RFC 7662), and Google's tokeninfo for the
//! access tokens of its OAuth clients, which is what Zapier sends.

use std::rc::Rc;

use lockgate_common::answer::Answer;
use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::fetch::{FetchError, Fetched, Shared};
use lockgate_common::json::{Json, Kind};
use lockgate_common::runtime::Runtime;
use lockgate_common::secret::{Secret, SecretSource};
use lockgate_common::services::{Service, Services};

use crate::identity::{ClaimRules, Identity};
use crate::provider::{self, CALL_MS};
use crate::token_endpoint::{basic, push_pair};

/// What became of asking.
#[derive(Clone)]
pub enum Verdict {
    /// Whose token it is, and until when that may be believed (ms since 1970).
    Active(Rc<Identity>, u64),
    /// Not good, or not for us; the reason.
    Inactive(&'static str),
    /// The issuer does not answer, or not what it should.
    Unavailable,
}

/// An introspection endpoint.
pub struct Introspection {
    endpoint: Service,
    /// Its name in rules, and in the tokens where these can be read.
    pub issuer: String,
    client_id: String,
    client_secret: SecretSource,
    /// The caller's own token, where the endpoint wants one (as Ory Hydra's does).
    own_token: Option<Shared<Rc<Secret>>>,
    audiences: Vec<String>,
    claim_rules: ClaimRules,
    /// How long an answer is believed, in milliseconds.
    pub cache_ms: u64,
}

impl Introspection {
    /// Reads `tokens.introspection`.
    #[inline(never)]
    pub fn from_config(
        fields: &Fields<'_>,
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Rc<Self>, ConfigError> {
        let expected = "an https address, or http on loopback";
        let address = |name: &str| -> Result<Option<Service>, ConfigError> {
            let Some(text) = fields.optional_text(name)? else { return Ok(None) };
            services.endpoint(&text).map(Some).ok_or_else(|| fields.error(name, expected))
        };
        let endpoint = address("endpoint")?.ok_or_else(|| fields.error("endpoint", expected))?;
        let text = fields.text("endpoint", expected)?;
        let origin = text.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
        let client_id = fields.text("client_id", "the id this proxy has at the endpoint")?;
        let secret = fields.required("client_secret", "{\"env\": NAME}")?;
        let source = || SecretSource::from_config(secret, &fields.join("client_secret"), runtime, services);
        let own_token = match address("token_endpoint")? {
            Some(token_endpoint) => {
                let scope = fields.texts("scopes")?.join(" ");
                Some(own_token(runtime, token_endpoint, &client_id, Rc::new(source()?), &scope))
            }
            None => None,
        };
        Ok(Rc::new(Self {
            endpoint,
            issuer: fields.optional_text("issuer")?.unwrap_or(origin),
            client_id,
            client_secret: source()?,
            own_token,
            audiences: fields.texts("audiences")?,
            claim_rules: provider::claim_rules(fields)?,
            cache_ms: fields.number("cache_s", 1, 3_600, 60)? * 1_000,
        }))
    }

    /// Our secret there is had; asked for where it is not.
    pub fn is_ready(&self) -> bool {
        self.client_secret.prefetch()
    }

    /// The fields of `tokens.introspection`.
    pub const SETTINGS: &[&str] = &[
        "endpoint",
        "issuer",
        "client_id",
        "client_secret",
        "token_endpoint",
        "scopes",
        "audiences",
        "cache_s",
        "trust_email",
        "groups_claim",
    ];

    /// Asks for a token. For tasks of the root.
    pub async fn ask(&self, runtime: &Rc<Runtime>, token: &str) -> Verdict {
        let deadline = runtime.host().now_ms() + CALL_MS;
        let mut again = self.own_token.as_ref();
        loop {
            let mut form = String::new();
            push_pair(&mut form, "token", token);
            push_pair(&mut form, "token_type_hint", "access_token");
            let mut call = self.endpoint.post_form(form);
            call.timeout_ms = CALL_MS;
            let Some(authorization) = self.authorization(deadline).await else {
                return Verdict::Unavailable;
            };
            call.headers.push(("authorization", authorization));
            let answer = runtime.call(call).await;
            // These are about our own credentials: the token may be good, so nothing is said of it. The
            // endpoint may have ended our own token before its time.
            match (answer.status, again.take()) {
                (401 | 403, Some(own_token)) => own_token.forget(),
                _ => return self.read(&answer, runtime.host().now_ms()),
            }
        }
    }

    async fn authorization(&self, deadline: u64) -> Option<String> {
        let text = |secret: &Secret| Some(std::str::from_utf8(secret.expose()).ok()?.trim().to_owned());
        match &self.own_token {
            Some(own_token) => Some(["Bearer ", &text(&*own_token.value(deadline).await.ok()?)?].concat()),
            None => Some(basic(&self.client_id, &text(&*self.client_secret.value(deadline).await.ok()?)?)),
        }
    }

    fn read(&self, answer: &Answer, now_ms: u64) -> Verdict {
        let Some(json) = object(answer) else { return Verdict::Unavailable };
        match json.unique_field("active").ok().flatten().and_then(Json::bool) {
            Some(true) => {}
            Some(false) => return Verdict::Inactive("token_inactive"),
            None => return Verdict::Unavailable,
        }
        let now_s = now_ms / 1_000;
        let time = |name: &str| json.field(name).and_then(Json::u64);
        if json.field("exp").is_some() && time("exp").is_none_or(|exp| exp <= now_s) {
            return Verdict::Inactive("token_expired");
        }
        if time("nbf").is_some_and(|nbf| nbf > now_s) {
            return Verdict::Inactive("token_not_yet");
        }
        let refresh = |name: &str| {
            json.field(name)
                .and_then(Json::str)
                .is_some_and(|text| text.eq_ignore_ascii_case("refresh_token"))
        };
        if refresh("token_type") || refresh("token_use") {
            return Verdict::Inactive("token_type");
        }
        let audience = json.field("aud");
        let known = |json: Json<'_>| {
            json.str().is_some_and(|text| self.audiences.iter().any(|audience| *audience == text))
        };
        if !self.audiences.is_empty()
            && !audience.is_some_and(|audience| known(audience) || audience.elements().any(known))
        {
            return Verdict::Inactive("token_audience");
        }
        let until_ms = time("exp").map_or(u64::MAX, |exp| exp.saturating_mul(1_000));
        match Identity::from_claims(json, &self.issuer, &self.claim_rules, false) {
            Some(identity) => Verdict::Active(Rc::new(identity), until_ms.min(now_ms + self.cache_ms)),
            None => Verdict::Inactive("token_subject"),
        }
    }
}

/// The caller's own token by client credentials (RFC 6749, 4.4): one renewal for all who need it.
fn own_token(
    runtime: &Rc<Runtime>,
    endpoint: Service,
    client_id: &str,
    secret: Rc<SecretSource>,
    scope: &str,
) -> Shared<Rc<Secret>> {
    let (fetching, client_id, scope) = (runtime.clone(), client_id.to_owned(), scope.to_owned());
    Shared::new(
        runtime,
        "introspection token",
        Box::new(move || {
            let (runtime, endpoint, secret) = (fetching.clone(), endpoint.clone(), secret.clone());
            let (client_id, scope) = (client_id.clone(), scope.clone());
            Box::pin(async move {
                let deadline = runtime.host().now_ms() + CALL_MS;
                let secret = secret.value(deadline).await?;
                let secret = std::str::from_utf8(secret.expose()).map_err(|_| FetchError::Unavailable)?;
                let mut form = String::new();
                push_pair(&mut form, "grant_type", "client_credentials");
                if !scope.is_empty() {
                    push_pair(&mut form, "scope", &scope);
                }
                let mut call = endpoint.post_form(form);
                call.timeout_ms = CALL_MS;
                call.headers.push(("authorization", basic(&client_id, secret.trim())));
                let answer = runtime.call(call).await;
                let json = object(&answer).ok_or(FetchError::Unavailable)?;
                let token = json.field("access_token").and_then(Json::str).ok_or(FetchError::Unavailable)?;
                if token.is_empty() || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
                    return Err(FetchError::Unavailable);
                }
                let life_s = json.field("expires_in").and_then(Json::u64).unwrap_or(3_600);
                let now = runtime.host().now_ms();
                Ok(Fetched {
                    value: Rc::new(Secret::new(token.as_bytes().to_vec())),
                    refresh_ms: now + life_s.saturating_mul(800),
                    expires_ms: now + life_s.saturating_mul(1_000),
                })
            })
        }),
    )
}

/// Google's tokeninfo.
pub struct Tokeninfo {
    endpoint: Service,
    client_ids: Vec<String>,
    /// How long an answer is believed, in milliseconds.
    pub cache_ms: u64,
}

impl Tokeninfo {
    /// The fields of `tokens.google`.
    pub const SETTINGS: &[&str] = &["client_ids", "tokeninfo", "cache_s"];

    /// Reads `tokens.google`.
    #[inline(never)]
    pub fn from_config(fields: &Fields<'_>, services: &Services) -> Result<Rc<Self>, ConfigError> {
        let address = fields.optional_text("tokeninfo")?;
        let address = address.unwrap_or_else(|| "https://oauth2.googleapis.com/tokeninfo".to_owned());
        let client_ids = fields.texts("client_ids")?;
        if client_ids.is_empty() {
            return Err(
                fields.error("client_ids", "the OAuth clients whose tokens are for you, at least one")
            );
        }
        let expected = "an https address, or http on loopback";
        Ok(Rc::new(Self {
            endpoint: services.endpoint(&address).ok_or_else(|| fields.error("tokeninfo", expected))?,
            client_ids,
            cache_ms: fields.number("cache_s", 1, 3_600, 60)? * 1_000,
        }))
    }

    /// Asks for a token. It goes into the body: an address is logged in more places. For tasks of the
    /// root.
    pub async fn ask(&self, runtime: &Rc<Runtime>, token: &str) -> Verdict {
        let mut form = String::new();
        push_pair(&mut form, "access_token", token);
        let mut call = self.endpoint.post_form(form);
        call.timeout_ms = CALL_MS;
        let answer = runtime.call(call).await;
        // Google says 400 for a token that is expired, revoked or none.
        if answer.status == 400 {
            return Verdict::Inactive("token_inactive");
        }
        let Some(json) = object(&answer) else { return Verdict::Unavailable };
        let now_ms = runtime.host().now_ms();
        let text = |name: &str| json.unique_field(name).ok().flatten().and_then(Json::str);
        let audience = text("aud");
        if !audience.is_some_and(|audience| self.client_ids.iter().any(|client| *client == audience)) {
            return Verdict::Inactive("token_audience");
        }
        // All values are texts there, numbers too.
        let expires_s = text("exp")
            .and_then(|exp| exp.parse::<u64>().ok())
            .or_else(|| json.field("exp").and_then(Json::u64));
        let expires_ms = match expires_s {
            Some(expires_s) if expires_s > now_ms / 1_000 => expires_s.saturating_mul(1_000),
            _ => return Verdict::Inactive("token_expired"),
        };
        let rules = ClaimRules { trust_email: false, groups_claim: "groups".to_owned() };
        match Identity::from_claims(json, "https://accounts.google.com", &rules, false) {
            Some(identity) => Verdict::Active(Rc::new(identity), expires_ms.min(now_ms + self.cache_ms)),
            None => Verdict::Inactive("token_subject"),
        }
    }
}

fn object(answer: &Answer) -> Option<Json<'_>> {
    let json = Json::parse(&answer.body).ok().filter(|_| answer.is_success())?;
    (json.kind() == Kind::Object).then_some(json)
}
