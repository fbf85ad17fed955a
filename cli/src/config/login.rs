//! How people sign in and stay signed in.

use std::collections::BTreeSet;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use super::problem::{Problem, Problems};
use super::provider::{Provider, RawProvider};
use super::resolve::Context;
use super::scalars::{Flag, Span};
use super::seconds;
use super::secret::{SecretName, is_elsewhere};

/// The session cookie's name, which the filter gives the prefix that suits the scheme. Its other cookies' names
/// begin with it.
pub(crate) const COOKIE: &str = "lockgate";

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
    /// Where each sign-in is told: `projects/P/topics/T`.
    pub event_topic: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {idle: 4h, lifetime: 12h}")]
pub(super) struct RawSession {
    idle: Option<Span>,
    lifetime: Option<Span>,
}

/// The part of the group that is for people.
pub(super) struct RawLogin {
    pub(super) cookie_secret: Option<SecretName>,
    pub(super) session: RawSession,
    pub(super) providers: Vec<RawProvider>,
    pub(super) token_page: Option<Flag>,
    pub(super) event_topic: Option<String>,
}

impl RawLogin {
    /// Whether anything says that they are meant to be there.
    pub(super) fn is_meant(&self, context: &Context<'_>) -> bool {
        let secret = self.cookie_secret.as_ref().is_some_and(|secret| context.has(secret));
        secret
            || self.event_topic.is_some()
            || self.providers.iter().any(|provider| provider.is_present(context))
    }

    /// What is missing, each with an example.
    pub(super) fn missing(&self, context: &Context<'_>) -> Vec<String> {
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
    pub(super) fn resolve(self, context: &Context<'_>, problems: &mut Problems) -> Option<Login> {
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
            token_page: self.token_page.is_some_and(|flag| flag.0),
            event_topic: self.event_topic,
        })
    }
}

/// A shell expression that yields a new one.
const NEW_COOKIE_SECRET: &str = "$(openssl rand -base64 32)";

/// As many as the filter takes.
const MOST_KEYS: usize = 8;

/// Its value is looked at where it is here, and never shown.
fn cookie_secret(secret: SecretName, context: &Context<'_>) -> Result<SecretName, Problem> {
    let Some((name, value)) = context.value(&secret) else { return Ok(secret) };
    let whole = |part: &str| STANDARD.decode(part.trim()).is_ok_and(|key| key.len() == 32);
    match is_elsewhere(value) || (value.split(',').all(whole) && value.split(',').count() <= MOST_KEYS) {
        true => Ok(secret),
        false => Err(Problem::new(
            "sign_in.cookie_secret",
            format!(
                "{name} is not base64 of 32 bytes; expected one to eight such values, comma separated, newest first, \
                 for example {name}={NEW_COOKIE_SECRET}"
            ),
        )),
    }
}

fn session(raw: RawSession) -> Result<(Duration, Duration), Problem> {
    let hours = |hours: u64| Duration::from_secs(hours * 3_600);
    let (idle, lifetime) =
        (raw.idle.map_or(hours(4), |span| span.0), raw.lifetime.map_or(hours(12), |span| span.0));
    let minute = Duration::from_secs(60);
    // The filter remembers for as long that somebody signed out.
    if lifetime < minute || lifetime > hours(7 * 24) {
        let expected = "between 1m and 168h, for example 12h";
        return Err(Problem::given("sign_in.session.lifetime", seconds(lifetime), expected));
    }
    if idle < minute || idle > lifetime {
        let expected = "between 1m and sign_in.session.lifetime, for example 4h";
        return Err(Problem::given("sign_in.session.idle", seconds(idle), expected));
    }
    Ok((idle, lifetime))
}
