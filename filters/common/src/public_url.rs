//! The address by which visitors know the proxy, and what cookies are called and protected by there.

use crate::config::{ConfigError, Fields};

/// An origin.
pub struct PublicUrl {
    /// Scheme, host and, where it is not the scheme's own, port: `https://app.example.com`.
    pub origin: String,
    /// Host and port, as a request's `:authority` has them.
    pub authority: String,
    /// Whether cookies are `Secure`.
    pub secure: bool,
}

impl PublicUrl {
    /// Reads `public_url`: https, or http on loopback. Where it is not needed, it may be absent.
    #[inline(never)]
    pub fn from_config(document: &Fields<'_>, needed: bool) -> Result<Self, ConfigError> {
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
        Ok(Self { authority: authority.to_owned(), secure, origin })
    }

    /// A cookie's name as browsers see it; none where it is more than letters, digits, hyphens and
    /// underscores. With https it begins with `__Host-`, which no other host can set
    /// (draft-ietf-httpbis-rfc6265bis, 4.1.3.2); with http it is plain, as Safari drops secure cookies there.
    pub fn cookie_name(&self, name: &str) -> Option<String> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_".contains(&byte);
        let fits = !name.is_empty() && name.bytes().all(plain);
        fits.then(|| [if self.secure { "__Host-" } else { "" }, name].concat())
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
