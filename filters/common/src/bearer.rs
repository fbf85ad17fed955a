//! The token of an `Authorization` header (RFC 6750, 2.1).

use crate::http::{Headers, Repeated};

/// The one bearer token; none where there is no such header, or one of another scheme. The scheme's
/// case does not matter (RFC 9110, 11.1). Two credentials are an error, whatever they are: the proxy has
/// joined them with a comma by then, so it is looked for behind each comma too.
pub fn token(headers: &Headers) -> Result<Option<&[u8]>, Repeated> {
    let Some(value) = headers.single("authorization")? else {
        return Ok(None);
    };
    if value.split(|byte| *byte == b',').skip(1).any(begins_credentials) {
        return Err(Repeated);
    }
    let end = value.iter().position(u8::is_ascii_whitespace).unwrap_or(value.len());
    let (scheme, token) = value.split_at_checked(end).unwrap_or_default();
    // A tab is no separator there. Some upstreams take it for one, so it is not another scheme either, but
    // part of a token that is none.
    let token = if token.contains(&b'\t') { token } else { token.trim_ascii() };
    Ok((scheme.eq_ignore_ascii_case(b"bearer") && !token.is_empty()).then_some(token))
}

/// Whether this is a scheme with something behind it, and not a parameter (`name=value`) of one.
fn begins_credentials(part: &[u8]) -> bool {
    let part = part.trim_ascii();
    let scheme = part.split(u8::is_ascii_whitespace).next().unwrap_or_default();
    scheme.len() < part.len() && scheme.iter().all(u8::is_ascii_alphanumeric)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(value: &str) -> Result<Option<String>, Repeated> {
        let headers = Headers::from_iter([("authorization", value)]);
        token(&headers).map(|token| token.map(|token| String::from_utf8(token.to_vec()).unwrap()))
    }

    #[test]
    fn one_credential_is_read_and_two_are_refused() {
        for one in ["Bearer x", "bearer  x ", "BEARER x"] {
            assert_eq!(read(one), Ok(Some("x".to_owned())), "{one}");
        }
        assert_eq!(read("Bearer\tx"), Ok(Some("\tx".to_owned())), "no token, and not nothing");
        for other in ["", "Bearer", "Bearer ", "Basic dTpw", "Digest a=\"b\", qop=auth, nc=1"] {
            assert_eq!(read(other), Ok(None), "{other}");
        }
        for two in ["Bearer x,Bearer y", "Basic dTpw, bearer x", "Basic a,Basic b", "Bearer x, Digest a=b"] {
            assert_eq!(read(two), Err(Repeated), "{two}");
        }
    }
}
