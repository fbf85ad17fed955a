//! HTTP messages as plain values.

pub use lockgate_wire::headers::{Headers, Repeated};

/// An answer that a filter gives in the upstream's place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Status code.
    pub status: u32,
    /// Headers; the proxy adds content-length.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Reply {
    /// An answer without a body.
    pub fn empty(status: u32) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An answer with a body of the given media type.
    pub fn with_body(status: u32, content_type: &str, body: Vec<u8>) -> Self {
        Self { status, headers: vec![("content-type", content_type.to_owned())], body }
    }
}

/// Why a request does not pass: what the client is told, and what the log and the counter say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Status code.
    pub status: u16,
    /// A word for the log line and the counter, `snake_case`.
    pub reason: &'static str,
    /// One plain sentence for the client. It names nothing internal.
    pub sentence: &'static str,
}

impl Refusal {
    /// The answer to the client. Every 503 says when to come again (RFC 9110, 10.2.3), so that a
    /// sender that retries does.
    pub fn reply(&self) -> Reply {
        let mut body = self.sentence.as_bytes().to_vec();
        body.push(b'\n');
        let mut reply = Reply::with_body(u32::from(self.status), "text/plain; charset=utf-8", body);
        if self.status == 503 {
            reply.headers.push(("retry-after", "1".to_owned()));
        }
        reply
    }
}

/// The part of a target before `?`.
pub fn path_without_query(target: &str) -> &str {
    target.split_once('?').map_or(target, |(path, _)| path)
}

/// A path as an upstream sees it that takes `;…` behind a segment for parameters and drops them, as
/// servlet containers do (RFC 3986, 3.3 leaves it to them); none where there are no such.
pub fn without_parameters(path: &str) -> Option<String> {
    let lower = path.to_ascii_lowercase();
    if !lower.contains(';') && !lower.contains("%3b") {
        return None;
    }
    let mut out = String::new();
    for segment in path.split('/') {
        let escaped = segment.to_ascii_lowercase().find("%3b").unwrap_or(segment.len());
        let end = segment.find(';').unwrap_or(segment.len()).min(escaped);
        let name = segment.get(..end).unwrap_or_default();
        if !name.is_empty() {
            out.push('/');
            out.push_str(name);
        }
    }
    if out.is_empty() {
        out.push('/');
    }
    Some(out)
}

/// Whether a character may stand in a token (RFC 9110, 5.6.2), as in a header's name.
pub fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether a request of this method can be stored and restored: a token of at most 32 bytes, but for
/// CONNECT, which would open a tunnel.
pub fn is_restorable_method(method: &str) -> bool {
    (1..=32).contains(&method.len()) && method.bytes().all(is_token_byte) && method != "CONNECT"
}

/// Whether a target is an absolute path whose segments say what they are: no authority (`//`), no dot
/// segments in any spelling, no escaped slash, nothing that ends a request line. Asked when a request
/// is stored and again when it is restored, so that what is acknowledged can be played back.
pub fn is_plain_target(target: &str) -> bool {
    let path = path_without_query(target);
    let lower = path.to_ascii_lowercase();
    let dots = |segment: &str| {
        let segment = segment.split(';').next().unwrap_or_default().replace("%2e", ".");
        segment == "." || segment == ".."
    };
    path.starts_with('/')
        && !path.starts_with("//")
        && target.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
        && !path.contains('\\')
        && !lower.contains("%2f")
        && !lower.contains("%5c")
        && !lower.contains("%00")
        && !lower.split('/').any(dots)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_of_segments_are_taken_off() {
        assert_eq!(without_parameters("/a/b"), None);
        for (path, plain) in
            [("/admin;", "/admin"), ("/;x/admin", "/admin"), ("/a;b=c/d%3Bx", "/a/d"), ("/;", "/")]
        {
            assert_eq!(without_parameters(path).as_deref(), Some(plain), "{path}");
        }
    }

    #[test]
    fn a_refusal_for_now_says_when_to_come_again() {
        let refusal = Refusal { status: 503, reason: "r", sentence: "Not now." };
        assert!(refusal.reply().headers.contains(&("retry-after", "1".to_owned())));
        assert_eq!(refusal.reply().body, b"Not now.\n");
    }
}
