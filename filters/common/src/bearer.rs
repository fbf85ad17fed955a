//! The token of an `Authorization` header (RFC 6750, 2.1).

use crate::http::{Headers, Repeated};

/// The one bearer token; none where there is no such header, or one of another scheme. The scheme's
/// case does not matter (RFC 9110, 11.1). Two `Authorization` headers are an error, whatever they hold.
pub fn token(headers: &Headers) -> Result<Option<&[u8]>, Repeated> {
    let Some(value) = headers.single("authorization")? else {
        return Ok(None);
    };
    let Some((scheme, token)) = value.split_at_checked(7) else {
        return Ok(None);
    };
    let token = token.trim_ascii();
    Ok((scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token))
}
