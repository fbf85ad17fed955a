//! An ID token, checked as OpenID Connect Core 1.0, 3.1.3.7 (and 12.2 for a refreshed one) demands.

use lockgate_common::encoding::base64url;
use lockgate_common::json::Json;
use lockgate_common::jwt::{self, Token, TokenError};
use lockgate_common::runtime::Runtime;
use sha2::{Digest, Sha256};
use std::rc::Rc;

use crate::provider::Provider;

/// Why an ID token is not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdTokenError {
    /// It fails a check.
    Wrong(&'static str),
    /// The provider's keys cannot be had.
    NoKeys,
}

/// What the token must fit beside its provider.
pub struct Expected<'a> {
    /// The nonce of this login; none for a refreshed token.
    pub nonce: Option<&'a str>,
    /// The subject of the session that is refreshed.
    pub subject: Option<&'a str>,
    /// The access token that came with it.
    pub access_token: Option<&'a str>,
}

/// Checks a token and gives its claims. For tasks of the root.
pub async fn check(
    runtime: &Rc<Runtime>,
    provider: &Provider,
    text: &str,
    expected: &Expected<'_>,
    deadline: u64,
) -> Result<Token, IdTokenError> {
    let token = Token::parse(text.as_bytes()).map_err(wrong)?;
    check_claims(provider, &token, expected, runtime.host().now_ms())?;
    token.verify_published(&provider.keys, runtime.host(), deadline).await.map_err(wrong)?;
    Ok(token)
}

fn check_claims(
    provider: &Provider,
    token: &Token,
    expected: &Expected<'_>,
    now_ms: u64,
) -> Result<(), IdTokenError> {
    // An access token by its own declaration (RFC 9068, 2.1) or a logout token is no ID token.
    if token.kind().is_some_and(|kind| !kind.eq_ignore_ascii_case("jwt")) {
        return Err(IdTokenError::Wrong("id_token_type"));
    }
    if !provider.algorithms.contains(&token.algorithm()) {
        return Err(IdTokenError::Wrong("id_token_algorithm"));
    }
    token.expect_issuer(std::slice::from_ref(&provider.issuer)).map_err(wrong)?;
    token.expect_audience(&[&provider.client_id]).map_err(wrong)?;
    token.expect_times(now_ms).map_err(wrong)?;
    let claims = token.claims();
    if jwt::seconds(claims, "iat").map_err(wrong)?.is_none() {
        return Err(IdTokenError::Wrong("id_token_malformed"));
    }
    let trusted = |json: Json<'_>| {
        json.str().is_some_and(|text| {
            text == provider.client_id || provider.audiences.iter().any(|audience| *audience == text)
        })
    };
    let claim = |name: &str, wrong: &'static str| match claims.unique_field(name) {
        Ok(None) => Ok(None),
        Ok(Some(json)) => json.str().map(Some).ok_or(IdTokenError::Wrong(wrong)),
        Err(_) => Err(IdTokenError::Wrong("id_token_malformed")),
    };
    let audience = claims.field("aud");
    let others = audience.into_iter().flat_map(Json::elements).any(|json| !trusted(json));
    // azp, where it is, is us (Core, 3.1.3.7 items 4 and 5).
    if others || claim("azp", "id_token_audience")?.is_some_and(|azp| azp != provider.client_id) {
        return Err(IdTokenError::Wrong("id_token_audience"));
    }
    if let Some(nonce) = expected.nonce
        && claim("nonce", "id_token_nonce")?.as_deref() != Some(nonce)
    {
        return Err(IdTokenError::Wrong("id_token_nonce"));
    }
    let subject = claim("sub", "id_token_malformed")?.filter(|subject| !subject.is_empty());
    let subject = subject.ok_or(IdTokenError::Wrong("id_token_malformed"))?;
    if expected.subject.is_some_and(|expected| expected != subject) {
        return Err(IdTokenError::Wrong("id_token_subject"));
    }
    // The access token's own check (Core, 3.1.3.8): the left half of its hash.
    if let (Some(hash), Some(access_token)) = (claim("at_hash", "id_token_at_hash")?, expected.access_token) {
        let digest = Sha256::digest(access_token.as_bytes());
        let half = digest.get(..16).unwrap_or_default();
        if *hash != base64url(half) {
            return Err(IdTokenError::Wrong("id_token_at_hash"));
        }
    }
    Ok(())
}

fn wrong(error: TokenError) -> IdTokenError {
    IdTokenError::Wrong(match error {
        TokenError::Malformed => "id_token_malformed",
        TokenError::Algorithm => "id_token_algorithm",
        TokenError::UnknownKey => "id_token_unknown_key",
        TokenError::Signature => "id_token_signature",
        TokenError::Expired => "id_token_expired",
        TokenError::NotYet => "id_token_not_yet",
        TokenError::Issuer => "id_token_issuer",
        TokenError::Audience => "id_token_audience",
        TokenError::Unverifiable => return IdTokenError::NoKeys,
    })
}
