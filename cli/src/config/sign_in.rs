//! The sign-in group: who people sign in with, which tokens programs bring, who may come in, and what
//! the upstream is told of them.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::access::{Effect, Policy, RawPolicy};
use super::events::RawEvents;
use super::identity::{self, Assertion, RawAssertion};
use super::login::{Login, RawLogin, RawSession};
use super::problem::{Problem, Problems};
use super::provider::{Provider, RawProvider};
use super::resolve::Context;
use super::resolved::Log;
use super::scalars::Flag;
use super::secret::SecretName;
use super::tokens::{AudienceClaim, RawTokens, Tokens};
use super::url::{PublicUrl, Url};
use super::who::Issuers;

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

    /// Where sign-ins are told, `projects/P/topics/T`; absent where they are not.
    pub fn event_topic(&self) -> Option<&str> {
        self.login.as_ref()?.event_topic.as_deref()
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
    events: Option<RawEvents>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    assertion: Option<RawAssertion>,
    #[serde(default)]
    policies: Vec<RawPolicy>,
}

/// Nothing of it is set → `None`; something → all of it, or problems that say what is missing.
pub(super) fn resolve(
    raw: Option<RawSignIn>,
    public_url: PublicUrl<'_>,
    upstream: Option<&Url>,
    context: &Context<'_>,
    problems: &mut Problems,
) -> Option<SignIn> {
    let raw = raw?;
    let before = problems.count();
    let tokens = raw.tokens.resolve(public_url, context, problems);
    let tokens_meant = tokens.is_some() || problems.count() > before;
    let event_topic = raw.events.and_then(|raw| problems.keep(raw.resolve(context))?);
    let RawSignIn { cookie_secret, session, providers, token_page, .. } = raw;
    let people = RawLogin { cookie_secret, session, providers, token_page, event_topic };
    let asserts = raw.assertion.iter().filter_map(|raw| raw.key.as_ref()).any(|key| context.has(key));
    let anything = asserts
        || context.variables.set_in("sign_in.policies")
        || context.variables.unset_in("sign_in").is_none();
    let people_meant = people.is_meant(context) || (!tokens_meant && anything);
    if !people_meant && !tokens_meant {
        return None;
    }
    let mut missing = if people_meant { people.missing(context) } else { Vec::new() };
    if matches!(public_url, PublicUrl::Absent) && (people_meant || asserts) {
        missing.push(context.missing("public_url", "https://app.example.com"));
    }
    missing.extend(missing_allowance(&raw.policies, context));
    if !missing.is_empty() {
        let missing = missing.join(", ");
        let message = format!("is partly set; missing: {missing}. Set all of it, or nothing of it");
        problems.push(Problem::new("sign_in", message));
        return None;
    }
    let login = people_meant.then(|| people.resolve(context, problems)).flatten();
    let issuers = issuers(login.iter().flat_map(|login| &login.providers), tokens.as_ref());
    let mut policies = Vec::new();
    // Where an issuer has a problem, a policy that names it has none of its own.
    if problems.count() == before {
        for (index, policy) in raw.policies.into_iter().enumerate() {
            let policy = policy.resolve(&format!("sign_in.policies[{index}]"), &issuers, context);
            policies.extend(problems.keep(policy).flatten());
        }
    }
    let assertion =
        raw.assertion.and_then(|raw| problems.keep(identity::assertion(raw, upstream, context))?);
    let headers = problems.keep(identity::headers(raw.headers))?;
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

/// What is played back is a request, and an event is none.
pub(super) fn check_event_topic(sign_in: &SignIn, log: &Log, problems: &mut Problems) {
    if let Some(topic) = sign_in.event_topic()
        && [&log.topic, &log.dead_letter_topic].iter().any(|other| *other == topic)
    {
        let expected = "a topic of its own, for example projects/my-project/topics/sign-ins";
        problems.push(Problem::given("sign_in.events.topic", topic, expected));
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
