//! Access tokens: self-contained, so that they outlive a restart, and signed with a key of their own that is never
//! published, so that no identity token can be used as one.

use std::path::Path;

use axum::http::{HeaderMap, header};
use jwt_simple::prelude::*;

use crate::keys::KeyError;
use crate::private_file;
use crate::status::ApiError;

/// Seconds; Google's access tokens live for one hour.
pub(crate) const LIFETIME_SECONDS: u64 = 3600;

/// How Google's begin. A token without it would be taken for one that its receiver can read.
const PREFIX: &str = "ya29.";

const KEY_FILE: &str = "access-token-key";
const KEY_BYTES: usize = 32;

/// Issues and checks the access tokens of one state directory.
pub(crate) struct AccessTokens {
    key: HS256Key,
}

impl AccessTokens {
    pub(crate) fn load(state_dir: &Path) -> Result<Self, KeyError> {
        let key = private_file::load_or_create(state_dir, KEY_FILE, || {
            let mut key = vec![0; KEY_BYTES];
            getrandom::fill(&mut key).map_err(std::io::Error::other)?;
            Ok::<_, KeyError>(key)
        })?;
        if key.len() < KEY_BYTES {
            return Err(std::io::Error::other("the access token key is too short").into());
        }
        Ok(Self { key: HS256Key::from_bytes(&key) })
    }

    pub(crate) fn issue(&self, account: &str) -> Result<String, KeyError> {
        let claims = Claims::create(Duration::from_secs(LIFETIME_SECONDS)).with_subject(account);
        Ok(format!("{PREFIX}{}", self.key.authenticate(claims)?))
    }

    /// Whose a token is, and when it ends, in seconds since 1970; none for one that is not good.
    pub(crate) fn holder(&self, token: &str) -> Option<(String, u64)> {
        let options = VerificationOptions {
            time_tolerance: Some(Duration::from_secs(0)),
            // A clock that was set back since a token was issued is no reason to refuse it.
            accept_future: true,
            ..Default::default()
        };
        let token = token.strip_prefix(PREFIX)?;
        let claims = self.key.verify_token::<NoCustomClaims>(token, Some(options)).ok()?;
        Some((claims.subject?, claims.expires_at?.as_secs()))
    }

    /// Refuses a request that does not carry exactly one valid access token.
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let mut values = headers.get_all(header::AUTHORIZATION).iter();
        let (Some(value), None) = (values.next(), values.next()) else {
            return Err(ApiError::unauthenticated());
        };
        let token = value.to_str().ok().and_then(bearer).ok_or_else(ApiError::unauthenticated)?;
        self.holder(token).map(|_| ()).ok_or_else(ApiError::unauthenticated)
    }
}

/// The scheme's name is case-insensitive (RFC 9110, section 11.1).
fn bearer(value: &str) -> Option<&str> {
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn with(values: &[&str]) -> HeaderMap {
        let values = values.iter().map(|value| HeaderValue::from_str(value).unwrap());
        values.map(|value| (header::AUTHORIZATION, value)).collect()
    }

    #[test]
    fn only_one_token_of_its_own_opens() {
        let directory = tempfile::tempdir().unwrap();
        let tokens = AccessTokens::load(directory.path()).unwrap();
        let good = format!("Bearer {}", tokens.issue("a@example.com").unwrap());
        assert!(tokens.check(&with(&[&good])).is_ok());
        assert!(
            AccessTokens::load(directory.path()).unwrap().check(&with(&[&good])).is_ok(),
            "after a restart"
        );

        let elsewhere = tempfile::tempdir().unwrap();
        let other = AccessTokens::load(elsewhere.path()).unwrap();
        let foreign = format!("Bearer {}", other.issue("a@example.com").unwrap());
        let unmarked = good.replace(PREFIX, "");
        let expired = tokens.key.authenticate(Claims::create(Duration::from_secs(0))).unwrap();
        for refused in [
            vec![],
            vec![foreign.as_str()],
            vec!["Bearer "],
            vec!["Bearer x.y.z"],
            vec![good.trim_start_matches("Bearer ")],
            vec![good.as_str(), good.as_str()],
            vec![unmarked.as_str()],
            vec![&format!("Bearer {PREFIX}{expired}")],
        ] {
            assert!(tokens.check(&with(&refused)).is_err(), "{refused:?}");
        }
    }
}
