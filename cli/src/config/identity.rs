//! What the upstream is told of who came in: headers, and a signed statement.

use std::collections::BTreeMap;
use std::time::Duration;

use lockgate_common::assertion::AssertionKeys;
use lockgate_common::secret::Secret;
use serde::Deserialize;

use super::issuer::is_claim;
use super::problem::Problem;
use super::resolve::Context;
use super::scalars::Span;
use super::seconds;
use super::secret::{SecretName, is_elsewhere};
use super::url::Url;

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

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "an object such as {key: {env: ASSERTION_KEY}}")]
pub(super) struct RawAssertion {
    pub(super) key: Option<SecretName>,
    audience: Option<String>,
    lifetime: Option<Span>,
}

/// Without its key there is none.
pub(super) fn assertion(
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
        && AssertionKeys::parse(&Secret::new(value.as_bytes().to_vec())).is_none()
    {
        let message = format!(
            "{name} is not a private key on P-256 in PEM; expected one or more, newest first, \
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
    if !(Duration::from_secs(30)..=Duration::from_secs(3_600)).contains(&lifetime) {
        let expected = "between 30s and 1h, for example 5m";
        return Err(Problem::given("sign_in.assertion.lifetime", seconds(lifetime), expected));
    }
    Ok(Some(Assertion { keys, audience, lifetime }))
}

/// Headers that say who somebody is must not be ones that mean something else already.
pub(super) fn headers(raw: BTreeMap<String, String>) -> Result<Vec<(String, String)>, Problem> {
    const TAKEN: [&str; 20] = [
        "accept",
        "authorization",
        "connection",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "forwarded",
        "host",
        "http2-settings",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-request-id",
        "x-serverless-authorization",
    ];
    const TAKEN_PREFIXES: [&str; 3] = ["x-forwarded-", "x-envoy-", "access-control-"];
    for (name, claim) in &raw {
        let field = format!("sign_in.headers.{name}");
        let token = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        let own = matches!(name.as_str(), "x-lockgate-assertion" | "x-lockgate-message-id");
        let taken = own
            || TAKEN.contains(&name.as_str())
            || TAKEN_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
        if !name.starts_with(|first: char| first.is_ascii_lowercase()) || !name.bytes().all(token) || taken {
            let expected = "a header of its own in lower case, not one that means something else, \
                for example x-lockgate-email";
            return Err(Problem::given(&field, name, expected));
        }
        if !is_claim(claim) {
            let expected =
                "a claim, for example email, or a JSON pointer (RFC 6901), for example /address/country";
            return Err(Problem::given(&field, claim, expected));
        }
    }
    Ok(raw.into_iter().collect())
}
