//! A header map with Envoy's rules: order is kept, names are lower case, values are bytes, and some
//! names hold one value only.

/// Headers or trailers, in order. Names are lower case; values are bytes, because a peer may send
/// any byte above 0x1f.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    pairs: Vec<(String, Vec<u8>)>,
}

impl Headers {
    /// No headers.
    pub fn new() -> Self {
        Self::default()
    }

    /// The first value of `name`.
    pub fn get(&self, name: &str) -> Option<&[u8]> {
        let first = self.pairs.iter().find(|(other, _)| other.eq_ignore_ascii_case(name));
        first.map(|(_, value)| value.as_slice())
    }

    /// The first value of `name`, if it is UTF-8.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(|value| std::str::from_utf8(value).ok())
    }

    /// Every value of `name`, in order.
    pub fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        self.pairs
            .iter()
            .filter(move |(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_slice())
    }

    /// All pairs, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.pairs.iter().map(|(name, value)| (name.as_str(), value.as_slice()))
    }

    /// How many pairs there are.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }

    /// Adds a pair as Envoy's map does: pseudo-headers stand before all others, and a further value
    /// of a name that Envoy keeps in one place (its "inline" headers) is joined to the first with
    /// a comma.
    pub fn add(&mut self, name: &str, value: impl AsRef<[u8]>) {
        let name = name.to_ascii_lowercase();
        let value = value.as_ref();
        if is_inline(&name)
            && let Some((_, first)) = self.pairs.iter_mut().find(|(other, _)| *other == name)
        {
            // An empty side adds no comma.
            if !first.is_empty() && !value.is_empty() {
                first.push(b',');
            }
            first.extend_from_slice(value);
            return;
        }
        let pair = (name, value.to_vec());
        if pair.0.starts_with(':') {
            let end = self.pairs.iter().take_while(|(other, _)| other.starts_with(':')).count();
            self.pairs.insert(end, pair);
        } else {
            self.pairs.push(pair);
        }
    }

    /// Sets `name` to one value. The pair moves to the end, as in Envoy.
    pub fn set(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.remove(name);
        self.add(name, value);
    }

    /// Removes all values of `name`.
    pub fn remove(&mut self, name: &str) {
        self.pairs.retain(|(other, _)| !other.eq_ignore_ascii_case(name));
    }

    /// The length of all names and values, which is what the ABI calls the map's size.
    pub(crate) fn byte_size(&self) -> usize {
        self.pairs.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

impl<N: AsRef<str>, V: AsRef<[u8]>> FromIterator<(N, V)> for Headers {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(pairs: I) -> Self {
        let mut headers = Self::new();
        for (name, value) in pairs {
            headers.add(name.as_ref(), value);
        }
        headers
    }
}

fn is_inline(name: &str) -> bool {
    name.starts_with(':') || INLINE.contains(&name)
}

/// The names of `envoy/http/header_map.h` and those that the extensions of a release build register
/// (`RegisterCustomInlineHeader`), requests and responses together.
const INLINE: &[&str] = &[
    "accept",
    "accept-encoding",
    "access-control-request-headers",
    "access-control-request-method",
    "age",
    "authorization",
    "cache-control",
    "cdn-loop",
    "connection",
    "content-encoding",
    "content-length",
    "content-type",
    "date",
    "etag",
    "expect",
    "expires",
    "grpc-message",
    "grpc-status",
    "grpc-timeout",
    "if-match",
    "if-modified-since",
    "if-none-match",
    "if-range",
    "if-unmodified-since",
    "keep-alive",
    "last-modified",
    "location",
    "origin",
    "pragma",
    "proxy-connection",
    "proxy-status",
    "referer",
    "server",
    "te",
    "transfer-encoding",
    "upgrade",
    "user-agent",
    "vary",
    "via",
    "x-client-trace-id",
    "x-forwarded-client-cert",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-forwarded-proto",
    "x-request-id",
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_value_of_an_inline_header_is_joined_and_of_another_is_kept_apart() {
        let headers: Headers =
            [("Content-Type", "a"), ("x-a", "1"), ("content-type", "b"), ("x-a", "2")].into_iter().collect();
        assert_eq!(headers.text("content-type"), Some("a,b"));
        assert_eq!(headers.all("x-a").collect::<Vec<_>>(), [b"1", b"2"]);
    }

    #[test]
    fn pseudo_headers_stand_first_and_a_set_header_moves_to_the_end() {
        let mut headers: Headers = [("a", "1"), (":path", "/"), ("b", "2")].into_iter().collect();
        headers.set("a", "3");
        let names: Vec<_> = headers.iter().map(|(name, _)| name).collect();
        assert_eq!(names, [":path", "b", "a"]);
    }
}
