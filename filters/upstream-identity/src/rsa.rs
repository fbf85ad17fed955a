//! The assertion signed in the module itself, for a proxy without the function `sign` (Envoy 1.36).

use std::collections::BTreeMap;

use jwt_simple::prelude::*;
use lockgate_common::sign::SignError;

/// A compact JWS with RS256 over the same claims as [`crate::key`] has signed by the proxy.
pub fn assertion(
    pkcs8: &[u8],
    key_id: &str,
    issuer: &str,
    token_uri: &str,
    audience: &str,
    lifetime_s: u64,
) -> Result<String, SignError> {
    let key = RS256KeyPair::from_der(pkcs8).map_err(|_| SignError::Refused)?.with_key_id(key_id);
    let target = BTreeMap::from([("target_audience".to_owned(), audience.to_owned())]);
    let claims = Claims::with_custom_claims(target, Duration::from_secs(lifetime_s))
        .with_issuer(issuer)
        .with_audience(token_uri);
    key.sign(claims).map_err(|_| SignError::Refused)
}
