//! The site that the door stands before, as its visitors see it.

use lockgate_common::config::{ConfigError, Fields};
use lockgate_common::public_url::PublicUrl;

/// Where the door's own pages begin.
pub const OWN_PREFIX: &str = "/_lockgate/";

/// Whether a path is one of the door's own.
pub fn is_own(path: &str) -> bool {
    path.starts_with(OWN_PREFIX) || path == OWN_PREFIX.trim_end_matches('/')
}

/// An origin and the cookies that live there.
pub struct Site {
    /// Scheme, host and, where it is not the scheme's own, port: `https://app.example.com`.
    pub origin: String,
    /// Host and port, as a request's `:authority` has them.
    pub authority: String,
    /// Whether cookies are `Secure`.
    pub secure: bool,
    /// The session cookie's name, as browsers see it.
    pub cookie: String,
}

impl Site {
    /// Reads `public_url` and `session.cookie`. Where nobody signs in and nothing is asserted, no address
    /// is needed.
    #[inline(never)]
    pub fn from_config(document: &Fields<'_>, cookie: &str, needed: bool) -> Result<Self, ConfigError> {
        let url = PublicUrl::from_config(document, needed)?;
        let expected = "a cookie name of letters, digits, hyphens and underscores";
        let cookie = url.cookie_name(cookie).ok_or_else(|| document.error("session", expected))?;
        let PublicUrl { origin, authority, secure } = url;
        Ok(Self { origin, authority, secure, cookie })
    }

    /// An address of this site.
    pub fn address(&self, path: &str) -> String {
        [self.origin.as_str(), path].concat()
    }
}
