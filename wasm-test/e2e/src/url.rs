//! URLs as a browser handles them, as far as loopback goes: http, a host that is this machine, a
//! port, path and query. And `application/x-www-form-urlencoded`, in which queries are written.

use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};

/// An absolute URL without a fragment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    /// `http` or `https`.
    pub scheme: String,
    /// The host, without the port.
    pub host: String,
    /// The port, the scheme's own where none is written.
    pub port: u16,
    /// The path and the query, as they stand in a request line.
    pub target: String,
}

impl Url {
    /// Reads an absolute URL; a fragment is dropped.
    ///
    /// # Panics
    /// When it is none of http or https.
    pub fn parse(text: &str) -> Self {
        Self::read(text).unwrap_or_else(|| panic!("not an absolute http URL: {text:?}"))
    }

    fn read(text: &str) -> Option<Self> {
        let (scheme, rest) = text.split_once("://")?;
        let default = match scheme {
            "http" => 80,
            "https" => 443,
            _ => return None,
        };
        let rest = rest.split('#').next().unwrap_or_default();
        let (authority, target) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) => (host, port.parse().ok()?),
            None => (authority, default),
        };
        if host.is_empty() {
            return None;
        }
        let target = if target.starts_with('/') { target.to_owned() } else { format!("/{target}") };
        Some(Self { scheme: scheme.to_owned(), host: host.to_owned(), port, target })
    }

    /// The URL that a reference on this page means (RFC 3986, section 5.2).
    ///
    /// # Panics
    /// When it is a URL of another scheme than http or https.
    pub fn join(&self, reference: &str) -> Self {
        let reference = reference.split('#').next().unwrap_or_default();
        if let Some(rest) = reference.strip_prefix("//") {
            return Self::parse(&format!("{}://{rest}", self.scheme));
        }
        let scheme_end = reference.find([':', '/', '?']).filter(|at| reference[*at..].starts_with(':'));
        if scheme_end.is_some() {
            return Self::parse(reference);
        }
        let target = if reference.is_empty() {
            self.target.clone()
        } else if reference.starts_with('/') {
            reference.to_owned()
        } else if reference.starts_with('?') {
            format!("{}{reference}", self.path())
        } else {
            let directory = self.path().rfind('/').map_or(0, |at| at + 1);
            format!("{}{reference}", &self.path()[..directory])
        };
        Self { target, ..self.clone() }
    }

    /// The path.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<String> {
        self.pairs().into_iter().find(|(n, _)| n == name).map(|(_, value)| value)
    }

    /// All query parameters, decoded, in order.
    pub fn pairs(&self) -> Vec<(String, String)> {
        self.target.split_once('?').map(|(_, query)| decode_form(query)).unwrap_or_default()
    }

    /// The same URL with these query parameters alone.
    pub fn with_pairs<N: AsRef<str>, V: AsRef<str>>(&self, pairs: &[(N, V)]) -> Self {
        Self { target: format!("{}?{}", self.path(), encode_form(pairs)), ..self.clone() }
    }

    /// Host and port as a `Host` header has them.
    pub fn authority(&self) -> String {
        match (&*self.scheme, self.port) {
            ("http", 80) | ("https", 443) => self.host.clone(),
            _ => format!("{}:{}", self.host, self.port),
        }
    }

    /// The origin (RFC 6454), as in an `Origin` header.
    pub fn origin(&self) -> String {
        format!("{}://{}", self.scheme, self.authority())
    }

    /// Whether two URLs are of one site. The hosts here have no registrable domain above them, so
    /// a site is a scheme and a host, whatever the port.
    pub fn same_site(&self, other: &Self) -> bool {
        self.scheme == other.scheme && self.host == other.host
    }

    /// Where to connect to: everything a test talks to is on this machine.
    ///
    /// # Panics
    /// When the host is not this machine by its name.
    pub fn address(&self) -> SocketAddr {
        let loopback = self.host == "localhost" || self.host.ends_with(".localhost");
        let address = if loopback { Some(Ipv4Addr::LOCALHOST) } else { self.host.parse().ok() };
        let address = address.filter(Ipv4Addr::is_loopback);
        (address.unwrap_or_else(|| panic!("{self} is not on this machine")), self.port).into()
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.origin(), self.target)
    }
}

/// `name=value&…`, both encoded.
pub fn encode_form<N: AsRef<str>, V: AsRef<str>>(pairs: &[(N, V)]) -> String {
    let encoded =
        pairs.iter().map(|(name, value)| format!("{}={}", encode(name.as_ref()), encode(value.as_ref())));
    encoded.collect::<Vec<_>>().join("&")
}

/// The pairs of a query or a form, decoded.
pub fn decode_form(text: &str) -> Vec<(String, String)> {
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts
        .map(|part| {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Percent-encodes everything but the unreserved characters.
pub fn encode(text: &str) -> String {
    let mut encoded = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => encoded.push(byte.into()),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    encoded
}

fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&byte, after)) = rest.split_first() {
        let escaped = after.get(..2).filter(|_| byte == b'%');
        let escaped = escaped.and_then(|hex| u8::from_str_radix(std::str::from_utf8(hex).ok()?, 16).ok());
        bytes.push(escaped.unwrap_or(if byte == b'+' { b' ' } else { byte }));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_resolved_against_its_page() {
        let page = Url::parse("http://127.0.0.1:80/a/b?c=d#e");
        for (reference, meant) in [
            ("http://localhost:9/x", "http://localhost:9/x"),
            ("//localhost:9", "http://localhost:9/"),
            ("/x?return_to=http://y", "http://127.0.0.1/x?return_to=http://y"),
            ("x?y=1", "http://127.0.0.1/a/x?y=1"),
            ("?y=1", "http://127.0.0.1/a/b?y=1"),
            ("", "http://127.0.0.1/a/b?c=d"),
        ] {
            assert_eq!(page.join(reference).to_string(), meant, "{reference}");
        }
    }

    #[test]
    fn a_query_comes_back_as_it_was_encoded() {
        let pairs = [("a b", "1&2=3"), ("ü", "100% +")];
        let url = Url::parse("http://127.0.0.1:9/p").with_pairs(&pairs);
        assert_eq!(url.target, "/p?a%20b=1%262%3D3&%C3%BC=100%25%20%2B");
        let read = url.pairs();
        assert_eq!(read.iter().map(|(n, v)| (&**n, &**v)).collect::<Vec<_>>(), pairs);
        assert_eq!(decode_form("x=a+b%2&y"), [("x".into(), "a b%2".into()), ("y".into(), String::new())]);
    }

    #[test]
    fn a_site_is_a_host_and_an_origin_a_port_of_it() {
        let [one, other] = ["http://127.0.0.1:9/", "http://127.0.0.1:10/"].map(Url::parse);
        assert!(one.same_site(&other) && one.origin() != other.origin());
        assert!(!one.same_site(&Url::parse("http://localhost:9/")));
    }
}
