//! The tokens that programs come in with.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use serde::Deserialize;

use super::issuer::{self, ClaimRules, is_line};
use super::problem::{Problem, Problems};
use super::resolve::Context;
use super::scalars::{Flag, Span, Texts};
use super::seconds;
use super::secret::SecretName;
use super::url::PublicUrl;
use super::who::{self, Claims, Values};

/// Whose tokens Google's tokeninfo knows.
pub(crate) const GOOGLE: &str = "https://accounts.google.com";

/// Tokens that let programs in; at least one kind.
#[derive(Clone, Debug)]
pub struct Tokens {
    /// Signed ones, by issuer.
    pub jwt: Vec<Jwt>,
    /// Opaque ones, which their issuer is asked about (RFC 7662).
    pub introspection: Option<Introspection>,
    /// Google's opaque ones.
    pub google: Option<Google>,
}

/// An issuer of signed tokens.
#[derive(Clone, Debug)]
pub struct Jwt {
    /// Exactly as in its tokens.
    pub issuer: String,
    /// By discovery when absent.
    pub jwks_uri: Option<String>,
    /// For whom a token must be.
    pub audiences: Vec<String>,
    /// Which claim says that.
    pub audience_claim: AudienceClaim,
    /// What a token must say beside.
    pub claims: Claims,
    /// The filter's own when empty.
    pub algorithms: Vec<String>,
    /// How its claims are read.
    pub claim_rules: ClaimRules,
}

/// Which claim says for whom a token is.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum AudienceClaim {
    /// RFC 7519, 4.1.3.
    #[default]
    Aud,
    /// Access tokens of Amazon Cognito have no other.
    ClientId,
}

/// An introspection endpoint.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// Where a token is asked about.
    pub endpoint: String,
    /// The issuer's name in policies.
    pub issuer: String,
    /// This door's id there.
    pub client_id: String,
    /// This door's secret there.
    pub client_secret: SecretName,
    /// Where the door gets a token of its own for asking; HTTP Basic when absent.
    pub token_endpoint: Option<String>,
    /// For that token.
    pub scopes: Vec<String>,
    /// For whom a token must be; not checked when empty.
    pub audiences: Vec<String>,
    /// How long an answer is believed, in seconds.
    pub cache_s: u64,
    /// How the answer is read.
    pub claim_rules: ClaimRules,
}

/// Google's access tokens, by its tokeninfo.
#[derive(Clone, Debug)]
pub struct Google {
    /// The OAuth clients whose tokens are accepted.
    pub client_ids: Vec<String>,
    /// Google's own address when absent.
    pub tokeninfo: Option<String>,
    /// How long an answer is believed, in seconds.
    pub cache_s: u64,
}

impl Tokens {
    /// Their issuers, as policies name them.
    pub fn issuers(&self) -> impl Iterator<Item = &str> {
        let jwt = self.jwt.iter().map(|jwt| jwt.issuer.as_str());
        let introspection = self.introspection.iter().map(|introspection| introspection.issuer.as_str());
        jwt.chain(introspection).chain(self.google.iter().map(|_| GOOGLE))
    }

    /// Every address that is asked.
    pub fn addresses(&self) -> impl Iterator<Item = &str> {
        let jwt = self.jwt.iter().flat_map(|jwt| [Some(&jwt.issuer), jwt.jwks_uri.as_ref()]);
        let introspection = self
            .introspection
            .iter()
            .flat_map(|introspection| [Some(&introspection.endpoint), introspection.token_endpoint.as_ref()]);
        let google = self.google.iter().map(|google| google.tokeninfo.as_ref());
        jwt.chain(introspection).chain(google).flatten().map(String::as_str)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with jwt, introspection or google")]
pub(super) struct RawTokens {
    #[serde(default)]
    jwt: Vec<RawJwt>,
    introspection: Option<RawIntrospection>,
    google: Option<RawGoogle>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with issuer and audiences")]
struct RawJwt {
    issuer: Option<String>,
    jwks_uri: Option<String>,
    audiences: Option<Texts>,
    #[serde(default)]
    audience_claim: AudienceClaim,
    claims: Option<BTreeMap<String, Option<Texts>>>,
    algorithms: Option<Texts>,
    trust_email: Option<Flag>,
    groups_claim: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object with endpoint, client_id and client_secret")]
struct RawIntrospection {
    endpoint: Option<String>,
    issuer: Option<String>,
    client_id: Option<String>,
    client_secret: Option<SecretName>,
    token_endpoint: Option<String>,
    scopes: Option<Texts>,
    audiences: Option<Texts>,
    cache: Option<Span>,
    trust_email: Option<Flag>,
    groups_claim: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {client_ids: [123.apps.googleusercontent.com]}")]
struct RawGoogle {
    client_ids: Option<Texts>,
    tokeninfo: Option<String>,
    cache: Option<Span>,
}

impl RawTokens {
    /// `None` where no kind of token is meant to be there.
    pub(super) fn resolve(
        self,
        public_url: PublicUrl<'_>,
        context: &Context<'_>,
        problems: &mut Problems,
    ) -> Option<Tokens> {
        let entries = self.jwt.into_iter().enumerate();
        let jwt: Vec<Jwt> = entries
            .filter_map(|(index, raw)| {
                problems.keep(raw.resolve(&format!("sign_in.tokens.jwt[{index}]"), public_url, context))?
            })
            .collect();
        let mut issuers = BTreeSet::new();
        for jwt in &jwt {
            if !issuers.insert(&jwt.issuer) {
                let expected = "each issuer once, with all its audiences";
                problems.push(Problem::given("sign_in.tokens.jwt", &jwt.issuer, expected));
            }
        }
        let introspection = self
            .introspection
            .and_then(|raw| problems.keep(raw.resolve("sign_in.tokens.introspection", context))?);
        let google =
            self.google.and_then(|raw| problems.keep(raw.resolve("sign_in.tokens.google", context))?);
        let any = !jwt.is_empty() || introspection.is_some() || google.is_some();
        any.then_some(Tokens { jwt, introspection, google })
    }
}

impl RawJwt {
    fn resolve(
        self,
        field: &str,
        public_url: PublicUrl<'_>,
        context: &Context<'_>,
    ) -> Result<Option<Jwt>, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        if self.issuer.is_none() && context.variables.unset_in(&at("issuer")).is_some() {
            return Ok(None);
        }
        let claims = match self.claims {
            Some(claims) => match who::claims(&at("claims"), claims, context)? {
                Values::Given(claims) => claims,
                Values::Unset(_) => return Ok(None),
                Values::Absent => Claims::new(),
            },
            None => Claims::new(),
        };
        let issuer = context.required(&at("issuer"), self.issuer, "https://login.example.com")?;
        let audiences = match (who::values(&at("audiences"), self.audiences, context)?, public_url) {
            (Values::Given(audiences), _) => audiences,
            _ if self.audience_claim == AudienceClaim::ClientId => {
                let expected =
                    "is missing; expected the clients whose tokens are accepted, by their client_id";
                return Err(Problem::new(&at("audiences"), expected));
            }
            (_, PublicUrl::Known(url)) => vec![url.to_string()],
            // What is wrong with it has been said.
            (_, PublicUrl::Wrong) => Vec::new(),
            (_, PublicUrl::Absent) => {
                let instead = context.missing("public_url", "https://app.example.com");
                let message = format!("is missing, and so is what would stand in for it: {instead}");
                return Err(Problem::new(&at("audiences"), message));
            }
        };
        let jwks_uri =
            self.jwks_uri.map(|uri| issuer::endpoint(&at("jwks_uri"), uri, "https://login.example.com/keys"));
        Ok(Some(Jwt {
            issuer: issuer::issuer(&at("issuer"), issuer)?,
            jwks_uri: jwks_uri.transpose()?,
            audiences,
            audience_claim: self.audience_claim,
            claims,
            algorithms: issuer::algorithms(field, self.algorithms)?,
            claim_rules: ClaimRules::resolve(field, self.trust_email, self.groups_claim)?,
        }))
    }
}

impl RawIntrospection {
    fn resolve(self, field: &str, context: &Context<'_>) -> Result<Option<Introspection>, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let secret = self.client_secret.filter(|secret| context.has(secret));
        let unset = context.variables.unset_in(field).is_some();
        if unset && self.endpoint.is_none() && self.client_id.is_none() && secret.is_none() {
            return Ok(None);
        }
        let example = "https://login.example.com/oauth2/introspect";
        let endpoint = context.required(&at("endpoint"), self.endpoint, example)?;
        let endpoint = issuer::endpoint(&at("endpoint"), endpoint, example)?;
        let client_id =
            context.required(&at("client_id"), self.client_id.filter(|id| is_line(id)), "lockgate")?;
        let client_secret = context.required(
            &at("client_secret"),
            secret,
            "{env: INTROSPECTION_CLIENT_SECRET}, a variable that is set",
        )?;
        let token_endpoint = self.token_endpoint.map(|endpoint| {
            issuer::endpoint(&at("token_endpoint"), endpoint, "https://login.example.com/oauth2/token")
        });
        let token_endpoint = token_endpoint.transpose()?;
        let scopes = issuer::scopes(field, self.scopes)?;
        if !scopes.is_empty() && token_endpoint.is_none() {
            let message = "expected only beside token_endpoint: they are those of the door's own token";
            return Err(Problem::new(&at("scopes"), message));
        }
        let issuer = self.issuer.unwrap_or_else(|| issuer::origin(&endpoint));
        if !is_line(&issuer) {
            return Err(Problem::given(&at("issuer"), issuer, "a name for policies, for example hydra"));
        }
        let audiences = match who::values(&at("audiences"), self.audiences, context)? {
            Values::Given(audiences) => audiences,
            Values::Absent => Vec::new(),
            // Left out, tokens for anybody would do.
            Values::Unset(variable) => {
                return Err(Problem::new(&at("audiences"), format!("{variable} is not set")));
            }
        };
        Ok(Some(Introspection {
            endpoint,
            issuer,
            client_id,
            client_secret,
            token_endpoint,
            scopes,
            audiences,
            cache_s: cache(&at("cache"), self.cache)?,
            claim_rules: ClaimRules::resolve(field, self.trust_email, self.groups_claim)?,
        }))
    }
}

impl RawGoogle {
    fn resolve(self, field: &str, context: &Context<'_>) -> Result<Option<Google>, Problem> {
        let at = |name: &str| format!("{field}.{name}");
        let client_ids = match who::values(&at("client_ids"), self.client_ids, context)? {
            Values::Given(client_ids) => client_ids,
            Values::Unset(_) => return Ok(None),
            Values::Absent => {
                context.required(&at("client_ids"), None, "[1234-abc.apps.googleusercontent.com]")?
            }
        };
        let tokeninfo = self.tokeninfo.map(|address| {
            issuer::endpoint(&at("tokeninfo"), address, "https://oauth2.googleapis.com/tokeninfo")
        });
        Ok(Some(Google {
            client_ids,
            tokeninfo: tokeninfo.transpose()?,
            cache_s: cache(&at("cache"), self.cache)?,
        }))
    }
}

/// A token that was revoked passes until its answer is no longer believed.
fn cache(field: &str, span: Option<Span>) -> Result<u64, Problem> {
    let cache = span.map_or(Duration::from_secs(60), |span| span.0);
    match cache.as_millis().is_multiple_of(1_000) && (1..=3_600).contains(&cache.as_secs()) {
        true => Ok(cache.as_secs()),
        false => {
            let expected = "whole seconds from 1s to 1h; a revoked token passes for as long, for example 60s";
            Err(Problem::given(field, seconds(cache), expected))
        }
    }
}
