//! What is a token, and what is an error text that came in its place.

use lockgate_common::encoding::from_base64url;
use lockgate_common::json::Json;
use lockgate_common::jwt::{MAX_TOKEN_BYTES, seconds};

/// When an identity token for `audience` ends, in seconds since 1970. None for anything else: three
/// base64url parts, of which the second says for whom it is and until when (RFC 7519). Whoever gave it
/// was asked over a connection of its own, and the upstream verifies it; the signature is not looked at.
pub fn expires_s(text: &[u8], audience: &str) -> Option<u64> {
    let mut parts = text.split(|byte| *byte == b'.');
    let (header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if parts.next().is_some() || text.len() > MAX_TOKEN_BYTES || signature.is_empty() {
        return None;
    }
    from_base64url(signature)?;
    let (header, claims) = (from_base64url(header)?, from_base64url(payload)?);
    Json::parse(&header).ok()?.field("alg")?;
    let claims = Json::parse(&claims).ok()?;
    let given = claims.unique_field("aud").ok()??.str()?;
    if given != audience {
        return None;
    }
    seconds(claims, "exp").ok()?
}
