//! Signed access tokens (JWT) of one issuer (RFC 9068; RFC 8725 for what to refuse).

use std::rc::Rc;

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::fetch::Shared;
use lockgate_common::flow::Stream;
use lockgate_common::http::Refusal;
use lockgate_common::json::Json;
use lockgate_common::jwks::{self, Algorithm, Keys};
use lockgate_common::jwt::{LEEWAY_S, Token, TokenError};
use lockgate_common::runtime::Runtime;
use lockgate_common::services::Services;

use crate::identity::{ClaimRules, Identity};
use crate::provider::{self, Provider};
use crate::refuse::{NO_KEYS, NO_SUBJECT, invalid_token};

/// Whose tokens are believed, and what they must say.
pub struct Issuer {
    names: Vec<String>,
    audiences: Vec<String>,
    /// Cognito's access tokens have no `aud`; they name their client in `client_id`.
    by_client_id: bool,
    required: Vec<(String, Vec<String>)>,
    algorithms: Vec<Algorithm>,
    claim_rules: ClaimRules,
    keys: Shared<Rc<Keys>>,
}

/// Google's tokens name their issuer in either form
/// (developers.google.com/identity/openid-connect/openid-connect#validatinganidtoken).
const GOOGLE: [&str; 2] = ["https://accounts.google.com", "accounts.google.com"];

const SETTINGS: &[&str] = &[
    "issuer",
    "jwks_uri",
    "audiences",
    "audience_claim",
    "claims",
    "algorithms",
    "trust_email",
    "groups_claim",
];

impl Issuer {
    /// Reads one of `tokens.jwt`. An issuer that people sign in with too has its keys fetched once.
    #[inline(never)]
    pub fn from_config(
        json: Json<'_>,
        path: &str,
        providers: &[Rc<Provider>],
        runtime: &Rc<Runtime>,
        services: &Rc<Services>,
    ) -> Result<Self, ConfigError> {
        let fields = Fields::new(json, path, SETTINGS)?;
        let issuer = provider::issuer(&fields, services)?;
        let keys = match fields.optional_text("jwks_uri")? {
            Some(address) => {
                let service = services.endpoint(&address);
                let expected = "an https address, or http on loopback";
                jwks::shared(runtime, service.ok_or_else(|| fields.error("jwks_uri", expected))?)
            }
            None => match providers.iter().find(|provider| provider.issuer == issuer) {
                Some(provider) => provider.keys.clone(),
                None => {
                    let discovery =
                        provider::discovered(runtime, services, &issuer, false, &fields.join("issuer"));
                    provider::keys(runtime, &discovery)
                }
            },
        };
        let audiences = fields.texts("audiences")?;
        if audiences.is_empty() {
            return Err(fields.error("audiences", "at least one audience; tokens for others are not for you"));
        }
        let by_client_id = match fields.optional_text("audience_claim")?.as_deref() {
            None | Some("aud") => false,
            Some("client_id") => true,
            Some(_) => return Err(fields.error("audience_claim", "aud or client_id")),
        };
        let names = match GOOGLE.contains(&issuer.as_str()) {
            true => GOOGLE.iter().map(|name| (*name).to_owned()).collect(),
            false => vec![issuer],
        };
        Ok(Self {
            names,
            audiences,
            by_client_id,
            required: required(&fields)?,
            algorithms: provider::algorithms(&fields)?,
            claim_rules: provider::claim_rules(&fields)?,
            keys,
        })
    }

    /// Whether a token says that it is this issuer's.
    pub fn issued(&self, token: &Token) -> bool {
        token.expect_issuer(&self.names).is_ok()
    }

    /// The keys are there; asked for where they are not.
    pub fn is_ready(&self) -> bool {
        self.keys.prefetch()
    }

    /// Checks a token that [`Issuer::issued`] holds for: whose it is, and until when (ms since 1970).
    pub async fn check(
        &self,
        stream: &Stream,
        token: &Token,
        deadline: u64,
    ) -> Result<(Identity, u64), Refusal> {
        self.check_claims(token, stream.host().now_ms())?;
        token.verify_published(&self.keys, stream.host(), deadline).await.map_err(refusal)?;
        let claims = token.claims();
        let name = self.names.first().map_or("", String::as_str);
        let identity = Identity::from_claims(claims, name, &self.claim_rules, false).ok_or(NO_SUBJECT)?;
        let expires_ms = (token.expires_s().map_err(refusal)? + LEEWAY_S).saturating_mul(1_000);
        Ok((identity, expires_ms))
    }

    fn check_claims(&self, token: &Token, now_ms: u64) -> Result<(), Refusal> {
        let access = ["jwt", "at+jwt", "application/at+jwt"];
        let is_access = |kind: &str| access.iter().any(|access| kind.eq_ignore_ascii_case(access));
        if !token.kind().is_none_or(is_access) {
            return Err(invalid_token("token_type"));
        }
        if !self.algorithms.contains(&token.algorithm()) {
            return Err(refusal(TokenError::Algorithm));
        }
        let claims = token.claims();
        // A nonce answers a browser's sign-in: this is an ID token, and says nothing of what its bearer
        // may do (RFC 9068, section 5; OpenID Connect Core, 2).
        if claims.field("nonce").is_some() || claims.field("events").is_some() {
            return Err(invalid_token("token_is_an_id_token"));
        }
        if self.by_client_id {
            let client = claims.unique_field("client_id").ok().flatten().and_then(Json::str);
            if !client.is_some_and(|client| self.audiences.iter().any(|audience| *audience == client)) {
                return Err(refusal(TokenError::Audience));
            }
        } else {
            let audiences: Vec<&str> = self.audiences.iter().map(String::as_str).collect();
            token.expect_audience(&audiences).map_err(refusal)?;
        }
        for (name, values) in &self.required {
            let claim = claims.unique_field(name).ok().flatten();
            let fits =
                |json: Json<'_>| json.str().is_some_and(|text| values.iter().any(|value| *value == text));
            if !claim.is_some_and(|claim| fits(claim) || claim.elements().any(fits)) {
                return Err(invalid_token("token_claims"));
            }
        }
        token.expect_times(now_ms).map_err(refusal)
    }
}

/// Reads `claims`: what a token must say beside its issuer and audience.
fn required(fields: &Fields<'_>) -> Result<Vec<(String, Vec<String>)>, ConfigError> {
    let claims = fields.optional("claims").into_iter().flat_map(Json::members);
    let read = |(name, value): (std::borrow::Cow<'_, str>, Json<'_>)| {
        let values: Option<Vec<String>> = match value.str() {
            Some(text) => Some(vec![text.into_owned()]),
            None => value.elements().map(|json| Some(json.str()?.into_owned())).collect(),
        };
        Some((name.into_owned(), values.filter(|values| !values.is_empty())?))
    };
    let read: Option<Vec<_>> = claims.map(read).collect();
    read.ok_or_else(|| fields.error("claims", "an object of texts or lists of texts"))
}

fn refusal(error: TokenError) -> Refusal {
    invalid_token(match error {
        TokenError::Malformed => "token_malformed",
        TokenError::Algorithm => "token_algorithm",
        TokenError::UnknownKey => "token_unknown_key",
        TokenError::Signature => "token_signature",
        TokenError::Expired => "token_expired",
        TokenError::NotYet => "token_not_yet",
        TokenError::Issuer => "token_issuer",
        TokenError::Audience => "token_audience",
        TokenError::Unverifiable => return NO_KEYS,
    })
}
