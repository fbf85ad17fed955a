//! The sign-in group: who people sign in with, which tokens programs bring, who may come in, and what
//! the upstream is told of them.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jwt_simple::algorithms::ES256KeyPair;
use serde::Deserialize;

use super::access::{Effect, Issuers, Policy, RawPolicy};
use super::problem::{Problem, Problems};
use super::provider::{Provider, RawProvider};
use super::resolve::Context;
use super::resolved::Log;
use super::scalars::{Flag, Span};
use super::seconds;
use super::secret::SecretName;
use super::tokens::{AudienceClaim, RawTokens, Tokens};
use super::url::{Url, is_secret_version};

/// The sign-in group.
#[derive(Clone, Debug)]
pub struct SignIn {
    /// People; absent where only programs come in.
    pub login: Option<Login>,
    /// Programs.
    pub tokens: Option<Tokens>,
    /// Request headers for the upstream, each with the claim it is filled from, or a JSON Pointer into
    /// the claims (RFC 6901) that begins with `/`; the filter's own when empty.
    pub headers: Vec<(String, String)>,
    /// A signed statement of who it is, for the upstream.
    pub assertion: Option<Assertion>,
    /// Who may come in.
    pub policies: Vec<Policy>,
}

/// How people sign in and stay signed in.
#[derive(Clone, Debug)]
pub struct Login {
    /// One or more base64 values of 32 bytes, comma separated, newest first.
    pub cookie_secret: SecretName,
    /// A session that is not used ends after this long.
    pub idle: Duration,
    /// A session ends after this long.
    pub lifetime: Duration,
    /// At least one; the first is the one for those who do not choose.
    pub providers: Vec<Provider>,
    /// Whether people are shown their access token.
    pub token_page: bool,
}

/// A signed statement of who it is.
#[derive(Clone, Debug)]
pub struct Assertion {
    /// One or more PEM private keys on P-256, newest first.
    pub keys: SecretName,
    /// For whom it is.
    pub audience: String,
    /// How long it is good for.
    pub lifetime: Duration,
}

impl SignIn {
    /// Every secret that the filters read for it.
    pub fn secrets(&self) -> impl Iterator<Item = &SecretName> {
        let login = self.login.iter().flat_map(|login| {
            let clients = login.providers.iter().filter_map(|provider| provider.client_secret.as_ref());
            clients.chain([&login.cookie_secret])
        });
        let introspection = self.tokens.iter().filter_map(|tokens| tokens.introspection.as_ref());
        login
            .chain(introspection.map(|introspection| &introspection.client_secret))
            .chain(self.assertion.iter().map(|assertion| &assertion.keys))
    }

    /// Every address that is asked, those of discovery by their issuer.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let providers = self.login.iter().flat_map(|login| &login.providers);
        let tokens = self.tokens.iter().flat_map(Tokens::addresses);
        providers.map(|provider| provider.issuer.as_str()).chain(tokens)
    }

    /// Whether a provider tells of sign-outs by itself.
    pub fn has_back_channel(&self) -> bool {
        self.login.iter().flat_map(|login| &login.providers).any(|provider| provider.back_channel_logout)
    }

    /// Whether some policy lets somebody in.
    pub fn allows(&self) -> bool {
        self.policies.iter().any(|policy| policy.effect == Effect::Allow)
    }

    /// Whose word is taken.
    pub(super) fn issuers(&self) -> Issuers {
        let providers = self.login.iter().flat_map(|login| &login.providers);
        issuers(providers, self.tokens.as_ref())
    }
}

fn issuers<'a>(providers: impl Iterator<Item = &'a Provider>, tokens: Option<&Tokens>) -> Issuers {
    let sign_in: BTreeSet<String> = providers.map(|provider| provider.issuer.clone()).collect();
    let mut all = sign_in.clone();
    all.extend(tokens.iter().flat_map(|tokens| tokens.issuers()).map(str::to_owned));
    Issuers { sign_in: sign_in.into_iter().collect(), all: all.into_iter().collect() }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with cookie_secret, providers and policies")]
pub(super) struct RawSignIn {
    cookie_secret: Option<SecretName>,
    #[serde(default)]
    session: RawSession,
    #[serde(default)]
    providers: Vec<RawProvider>,
    #[serde(default)]
    tokens: RawTokens,
    token_page: Option<Flag>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    assertion: Option<RawAssertion>,
    #[serde(default)]
    policies: Vec<RawPolicy>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {idle: 4h, lifetime: 12h}")]
struct RawSession {
    idle: Option<Span>,
    lifetime: Option<Span>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {key: {env: ASSERTION_KEY}}")]
struct RawAssertion {
    key: Option<SecretName>,
    audience: Option<String>,
    lifetime: Option<Span>,
}

/// Nothing of it is set → `None`; something → all of it, or problems that say what is missing.
pub(super) fn resolve(
    raw: Option<RawSignIn>,
    public_url: Option<&Url>,
    upstream: Option<&Url>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<SignIn> {
    let raw = raw?;
    let before = problems.count();
    let tokens = raw.tokens.resolve(public_url, context, problems);
    let tokens_meant = tokens.is_some() || problems.count() > before;
    let people = People { cookie_secret: raw.cookie_secret, session: raw.session, providers: raw.providers };
    let asserts = raw.assertion.iter().filter_map(|raw| raw.key.as_ref()).any(|key| context.has(key));
    let anything = asserts
        || context.variables.set_in("sign_in.policies")
        || context.variables.unset_in("sign_in").is_none();
    let people_meant = people.are_meant(context) || (!tokens_meant && anything);
    if !people_meant && !tokens_meant {
        return None;
    }
    let mut missing = if people_meant { people.missing(context) } else { Vec::new() };
    if public_url.is_none() && (people_meant || asserts) {
        missing.push(context.missing("public_url", "https://app.example.com"));
    }
    missing.extend(missing_allowance(&raw.policies, context));
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let message = format!("is partly set; missing: {missing}. Set all of it, or nothing of it");
        problems.push(Problem::new("sign_in", message));
        return None;
    }
    let login = people_meant.then(|| people.resolve(raw.token_page, context, problems)).flatten();
    let issuers = issuers(login.iter().flat_map(|login| &login.providers), tokens.as_ref());
    let mut policies = Vec::new();
    // Where an issuer has a problem, a policy that names it has none of its own.
    if problems.count() == before {
        for (index, policy) in raw.policies.into_iter().enumerate() {
            let policy = policy.resolve(&format!("sign_in.policies[{index}]"), &issuers, context);
            policies.extend(problems.keep(policy).flatten());
        }
    }
    let assertion = raw.assertion.and_then(|raw| problems.keep(assertion(raw, upstream, context))?);
    let headers = problems.keep(headers(raw.headers))?;
    let sign_in = SignIn { login, tokens, headers, assertion, policies };
    check_login_audiences(&sign_in, problems);
    (problems.count() == before).then_some(sign_in)
}

/// Says that it lets nobody in at all.
pub(super) fn nobody() -> Problem {
    Problem::new(
        "sign_in.policies",
        "lets nobody in; expected a policy that allows, for example [{effect: allow, domains: [example.com]}]",
    )
}

/// The variable that would let somebody in, where no policy does without one.
fn missing_allowance(policies: &[RawPolicy], context: &Context<'_>) -> Option<String> {
    let allowing = policies.iter().enumerate().filter(|(_, policy)| policy.effect() == Effect::Allow);
    let mut unset =
        allowing.map(|(index, _)| context.variables.unset_in(&format!("sign_in.policies[{index}]")));
    let first = unset.next()??;
    unset.all(|variable| variable.is_some()).then(|| format!("{first} (for example {first}=example.com)"))
}

/// The part of the group that is for people.
struct People {
    cookie_secret: Option<SecretName>,
    session: RawSession,
    providers: Vec<RawProvider>,
}

impl People {
    fn are_meant(&self, context: &Context<'_>) -> bool {
        let secret = self.cookie_secret.as_ref().is_some_and(|secret| context.has(secret));
        secret || self.providers.iter().any(|provider| provider.is_present(context))
    }

    fn missing(&self, context: &Context<'_>) -> Vec<String> {
        let mut missing = Vec::new();
        let field = |index: usize| format!("sign_in.providers[{index}]");
        let present = self.providers.iter().enumerate().filter(|(_, provider)| provider.is_present(context));
        let incomplete: Vec<_> = present.collect();
        match (incomplete.is_empty(), self.providers.first()) {
            (false, _) => {
                missing
                    .extend(incomplete.iter().flat_map(|(index, raw)| raw.missing(&field(*index), context)));
            }
            (true, Some(first)) => missing.extend(first.missing(&field(0), context)),
            (true, None) => missing.push(
                "sign_in.providers (for example [{name: company, issuer: https://login.example.com, \
                client_id: lockgate, client_secret: {env: OIDC_CLIENT_SECRET}}])"
                    .to_owned(),
            ),
        }
        let set = self.cookie_secret.as_ref().is_some_and(|secret| context.has(secret));
        if !set {
            let name = self.cookie_secret.as_ref().and_then(SecretName::variable).unwrap_or("COOKIE_SECRET");
            missing.push(format!("{name} (for example {name}={NEW_COOKIE_SECRET})"));
        }
        missing
    }

    /// With nothing missing.
    fn resolve(
        self,
        token_page: Option<Flag>,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Login> {
        let cookie_secret = problems.keep(cookie_secret(self.cookie_secret?, context));
        let session = problems.keep(session(self.session));
        let mut providers = Vec::new();
        let mut names = BTreeSet::new();
        for (index, raw) in self.providers.into_iter().enumerate() {
            // One whose variables are all unset is left out.
            if !raw.is_present(context) {
                continue;
            }
            let field = format!("sign_in.providers[{index}]");
            let Some(provider) = problems.keep(raw.resolve(&field, context)) else { continue };
            if !names.insert(provider.name.clone()) {
                let expected = "a name that no other provider has";
                problems.push(Problem::given(&format!("{field}.name"), &provider.name, expected));
            }
            providers.push(provider);
        }
        let (idle, lifetime) = session?;
        Some(Login {
            cookie_secret: cookie_secret?,
            idle,
            lifetime,
            providers,
            token_page: token_page.is_some_and(|flag| flag.0),
        })
    }
}

/// A shell expression that yields a new one.
const NEW_COOKIE_SECRET: &str = "$(openssl rand -base64 32)";

/// Its value is looked at where it is here, and never shown.
fn cookie_secret(secret: SecretName, context: &Context<'_>) -> Result<SecretName, Problem> {
    let Some((name, value)) = context.value(&secret) else { return Ok(secret) };
    let whole = |part: &str| STANDARD.decode(part.trim()).is_ok_and(|key| key.len() == 32);
    match is_elsewhere(value) || value.split(',').all(whole) {
        true => Ok(secret),
        false => Err(Problem::new(
            "sign_in.cookie_secret",
            format!(
                "{name} is not base64 of 32 bytes; expected one or more such values, comma separated, newest first, \
                 for example {name}={NEW_COOKIE_SECRET}"
            ),
        )),
    }
}

/// A value that names another place.
fn is_elsewhere(value: &str) -> bool {
    value.strip_prefix("sm://").is_some_and(is_secret_version)
}

fn session(raw: RawSession) -> Result<(Duration, Duration), Problem> {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let (idle, lifetime) =
        (raw.idle.map_or(hours(4), |span| span.0), raw.lifetime.map_or(hours(12), |span| span.0));
    let minute = Duration::from_secs(60);
    if lifetime < minute {
        let expected = "between 1m and 720h, for example 12h";
        return Err(Problem::given("sign_in.session.lifetime", seconds(lifetime), expected));
    }
    if idle < minute || idle > lifetime {
        let expected = "between 1m and sign_in.session.lifetime, for example 4h";
        return Err(Problem::given("sign_in.session.idle", seconds(idle), expected));
    }
    Ok((idle, lifetime))
}

/// Without its key there is none.
fn assertion(
    raw: RawAssertion,
    upstream: Option<&Url>,
    context: &Context<'_>,
) -> Result<Option<Assertion>, Problem> {
    let keys = context.required("sign_in.assertion.key", raw.key, "{env: ASSERTION_KEY}")?;
    if !context.has(&keys) {
        return Ok(None);
    }
    if let Some((name, value)) = context.value(&keys)
        && !is_elsewhere(value)
        && !are_keys(value)
    {
        let message = format!(
            "{name} is not a private key on P-256 in PEM (PKCS #8); expected one or more, newest first, \
             for example {name}=$(openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256)"
        );
        return Err(Problem::new("sign_in.assertion.key", message));
    }
    let audience = raw.audience.or_else(|| upstream.map(Url::to_string)).unwrap_or_default();
    if upstream.is_some() && (audience.is_empty() || !audience.bytes().all(|byte| byte.is_ascii_graphic())) {
        let expected = "for whom it is, for example https://my-service.example.com";
        return Err(Problem::given("sign_in.assertion.audience", audience, expected));
    }
    let lifetime = raw.lifetime.map_or(Duration::from_secs(300), |span| span.0);
    if !(Duration::from_secs(10)..=Duration::from_secs(3_600)).contains(&lifetime) {
        let expected = "between 10s and 1h, for example 5m";
        return Err(Problem::given("sign_in.assertion.lifetime", seconds(lifetime), expected));
    }
    Ok(Some(Assertion { keys, audience, lifetime }))
}

fn are_keys(text: &str) -> bool {
    const END: &str = "-----END PRIVATE KEY-----";
    let blocks: Vec<&str> = text.trim().split_inclusive(END).collect();
    !text.trim().is_empty() && blocks.iter().all(|block| ES256KeyPair::from_pem(block.trim()).is_ok())
}

/// Headers that say who somebody is must not be ones that mean something else already.
fn headers(raw: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Problem> {
    const TAKEN: [&str; 18] = [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
    ];
    const TAKEN_PREFIXES: [&str; 3] = ["x-forwarded-", "x-envoy-", "access-control-"];
    for (name, claim) in &raw {
        let field = format!("sign_in.headers.{name}");
        let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let own = matches!(name.as_str(), "x-lockgate-assertion" | "x-lockgate-message-id");
        let taken = own
            || TAKEN.contains(&name.as_str())
            || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if name.is_empty() || !name.bytes().all(token) || taken {
            let expected = "a header of its own in lower case, not one that means something else, \
                for example x-lockgate-email";
            return Err(Problem::given(&field, name, expected));
        }
        let pointer = !claim.starts_with('/') || super::template::is_pointer(claim);
        if claim.is_empty() || claim.chars().any(char::is_control) || !pointer {
            let expected =
                "a claim, for example email, or a JSON pointer (RFC 6901), for example /address/country";
            return Err(Problem::given(&field, claim, expected));
        }
    }
    Ok(raw.into_iter().collect())
}

/// An ID token of the login is for its client: were that an audience here, the token that any page of
/// the browser's may come to hold would be as good as one that was granted for access.
fn check_login_audiences(sign_in: &SignIn, problems: &mut Problems) {
    let clients: Vec<&String> =
        sign_in.login.iter().flat_map(|login| &login.providers).map(|provider| &provider.client_id).collect();
    let by_audience = |tokens: &Tokens| {
        let jwt = tokens.jwt.iter().filter(|jwt| jwt.audience_claim == AudienceClaim::Aud);
        jwt.flat_map(|jwt| jwt.audiences.clone()).collect::<Vec<_>>()
    };
    for audience in sign_in.tokens.iter().flat_map(by_audience).filter(|audience| clients.contains(&audience))
    {
        let expected = "an audience of your own: this is the client_id of a login, \
            so its ID tokens would pass for access tokens, for example https://app.example.com";
        problems.push(Problem::given("sign_in.tokens.jwt", audience, expected));
    }
}

/// A push token opens the playback and nothing else.
pub(super) fn check_push_audience(sign_in: &SignIn, log: &Log, problems: &mut Problems) {
    let same_issuer = |issuer: &str| issuer == log.push.issuer.to_string();
    let jwt = sign_in.tokens.iter().flat_map(|tokens| &tokens.jwt);
    if jwt.filter(|jwt| same_issuer(&jwt.issuer)).any(|jwt| jwt.audiences.contains(&log.push.audience)) {
        let expected = "another audience than log.push.audience: Pub/Sub's push tokens would let programs in, \
            for example https://app.example.com";
        problems.push(Problem::given("sign_in.tokens.jwt", &log.push.audience, expected));
    }
}
