//! The site that the door stands before, as its visitors see it.

use lockgate_common::config::{ConfigError, Fields};

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
    /// The session cookie's name. With https it begins with `__Host-`, which no other host can set
    /// (draft-ietf-httpbis-rfc6265bis, 4.1.3.2).
    pub cookie: String,
}

impl Site {
    /// Reads `public_url` and `session.cookie`. Where nobody signs in and nothing is asserted, no address
    /// is needed. https, or http on loopback: there a plain cookie name,
    /// as Safari drops secure cookies.
    #[inline(never)]
    pub fn from_config(document: &Fields<'_>, cookie: &str, needed: bool) -> Result<Self, ConfigError> {
        let expected = "https://host, or http on loopback, without a path";
        let origin = match document.optional_text("public_url")? {
            None if !needed => "https://nowhere.invalid".to_owned(),
            _ => document.text("public_url", expected)?,
        };
        let (secure, authority) = match (origin.strip_prefix("https://"), origin.strip_prefix("http://")) {
            (Some(authority), _) => (true, authority),
            (_, Some(authority)) if is_loopback(authority) => (false, authority),
            _ => return Err(document.error("public_url", expected)),
        };
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-.:[]".contains(&byte);
        if authority.is_empty() || !authority.bytes().all(plain) {
            return Err(document.error("public_url", expected));
        }
        let name = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        if cookie.is_empty() || !cookie.bytes().all(name) {
            return Err(
                document.error("session", "a cookie name of letters, digits, hyphens and underscores")
            );
        }
        let cookie = [if secure { "__Host-" } else { "" }, cookie].concat();
        Ok(Self { authority: authority.to_owned(), secure, cookie, origin })
    }

    /// An address of this site.
    pub fn address(&self, path: &str) -> String {
        [self.origin.as_str(), path].concat()
    }
}

fn is_loopback(authority: &str) -> bool {
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    let address = host.parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
