//! The addresses and resource names that a configuration holds, read strictly.

use std::fmt;
use std::net::IpAddr;

use super::problem::Problem;

/// How a service is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Plain text: this machine, the metadata server, and an upstream that is said to be so.
    Http,
    /// TLS with the system's certificate authorities.
    Https,
}

/// `scheme://host[:port][/path]`, without user, query or fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// http or https.
    pub scheme: Scheme,
    /// Lower case; an IPv6 address without its brackets.
    pub host: String,
    /// As given, or the scheme's own.
    pub port: u16,
    /// Empty, or begins with `/` and does not end with it.
    pub path: String,
}

/// How the world reaches this, as far as it is known.
#[derive(Clone, Copy, Debug)]
pub(super) enum PublicUrl<'a> {
    Known(&'a Url),
    /// Given, and of no use.
    Wrong,
    Absent,
}

impl Url {
    /// Reads an address; a trailing slash is dropped.
    ///
    /// # Errors
    /// Anything but http or https, a user name, a query, a fragment, an unusual host.
    pub fn parse(field: &str, text: &str, expected: &str) -> Result<Self, Problem> {
        Self::read(text).ok_or_else(|| Problem::given(field, without_user(text), expected))
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = match text.split_once("://")? {
            ("https", rest) => (Scheme::Https, rest),
            ("http", rest) => (Scheme::Http, rest),
            _ => return None,
        };
        let (authority, path) = rest.find('/').map_or((rest, ""), |at| rest.split_at(at));
        let (host, port) = match authority.strip_prefix('[') {
            Some(bracketed) => {
                let (host, port) = bracketed.split_once(']')?;
                host.parse::<std::net::Ipv6Addr>().ok()?;
                (host, port.strip_prefix(':').or(port.is_empty().then_some(""))?)
            }
            None => authority.split_once(':').unwrap_or((authority, "")),
        };
        let named = host.contains(':') || host.split('.').all(is_label);
        let plain = path.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#\\\"".contains(&byte));
        if host.is_empty() || !named || !plain {
            return None;
        }
        let port = match port {
            "" if scheme == Scheme::Https => 443,
            "" => 80,
            port => port.parse().ok().filter(|&port| port != 0)?,
        };
        Some(Self {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path: path.trim_end_matches('/').to_owned(),
        })
    }

    /// `host[:port]` as a `Host` header has it.
    pub fn authority(&self) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => host,
            (_, port) => format!("{host}:{port}"),
        }
    }

    /// The host, where it is an address already.
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether it leads to this machine.
    pub fn is_loopback(&self) -> bool {
        self.host == "localhost" || self.ip().is_some_and(|ip| ip.is_loopback())
    }

    /// https, or http where nobody can listen: this machine and Google's metadata server.
    pub fn is_private_enough(&self) -> bool {
        self.scheme == Scheme::Https
            || self.is_loopback()
            || matches!(self.host.as_str(), "metadata.google.internal" | "169.254.169.254")
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        write!(f, "{scheme}://{}{}", self.authority(), self.path)
    }
}

/// A user name in an address usually comes with a password, which no error should repeat.
fn without_user(text: &str) -> String {
    match text.rsplit_once('@') {
        Some((_, rest)) => format!("…@{rest}"),
        None => text.to_owned(),
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
}

/// `projects/P/topics/T`.
pub(super) fn is_topic(name: &str) -> bool {
    is_resource(name, &["projects", "topics"])
}

/// `projects/P/secrets/S/versions/V`.
pub(super) fn is_secret_version(name: &str) -> bool {
    is_resource(name, &["projects", "secrets", "versions"])
}

fn is_resource(name: &str, collections: &[&str]) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let id = |part: &str| {
        !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.~+%:".contains(&b))
    };
    parts.len() == collections.len() * 2
        && parts
            .chunks(2)
            .zip(collections)
            .all(|(pair, &collection)| matches!(pair, [kind, part] if *kind == collection && id(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Option<String> {
        Url::read(text).map(|url| url.to_string())
    }

    #[test]
    fn addresses_are_normalised() {
        assert_eq!(read("https://A.run.app/").as_deref(), Some("https://a.run.app"));
        assert_eq!(read("http://127.0.0.1:8090").as_deref(), Some("http://127.0.0.1:8090"));
        assert_eq!(read("https://x:443/base/").as_deref(), Some("https://x/base"));
        assert_eq!(read("http://[::1]:80").as_deref(), Some("http://[::1]"));
    }

    #[test]
    fn odd_addresses_are_refused() {
        for odd in [
            "",
            "x",
            "ftp://x",
            "https://",
            "https://u:p@x",
            "https://x?q",
            "https://x#f",
            "https://x:0",
            "https://x:99999",
            "https://x y",
            "https://x/ y",
            "https://[x]",
            "https://a..b",
            "//x",
            "https://x:y",
        ] {
            assert_eq!(read(odd), None, "{odd}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_and_the_metadata_server() {
        let fine = |text: &str| Url::read(text).unwrap().is_private_enough();
        assert!(
            fine("http://127.0.0.1:1") && fine("http://[::1]") && fine("http://metadata.google.internal")
        );
        assert!(fine("https://example.com") && !fine("http://example.com") && !fine("http://10.0.0.1"));
    }

    #[test]
    fn resource_names() {
        assert!(is_topic("projects/p/topics/t") && !is_topic("projects/p/topics/") && !is_topic("t"));
        assert!(!is_topic("projects/p/topics/t/x") && !is_topic("projects/p/subscriptions/s"));
        assert!(is_secret_version("projects/1/secrets/s/versions/latest"));
    }
}
