//! HTTP/1.1 messages as they stand on the wire.
//!
//! Header bytes, their order and their duplicates are kept, which no HTTP library promises and
//! which is what the tests of a proxy are about.

use std::fmt;

/// Header fields in the order they came, names compared without regard to case.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Headers(Vec<(Vec<u8>, Vec<u8>)>);

impl Headers {
    /// Appends a field; a field of the same name that is already there stays.
    pub fn push(&mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) {
        self.0.push((name.as_ref().to_vec(), value.as_ref().to_vec()));
    }

    /// Every value of a field, in order.
    pub fn all(&self, name: &str) -> Vec<&[u8]> {
        self.0
            .iter()
            .filter(|(n, _)| n.eq_ignore_ascii_case(name.as_bytes()))
            .map(|(_, value)| value.as_slice())
            .collect()
    }

    /// The first value of a field as text, invalid UTF-8 replaced.
    pub fn text(&self, name: &str) -> Option<String> {
        self.all(name).first().map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// Whether a field of this name is there at all.
    pub fn contains(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// The fields as pairs, in order.
    pub fn pairs(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.0.iter().map(|(name, value)| (&name[..], &value[..]))
    }

    /// Removes every field of this name.
    pub fn remove(&mut self, name: &str) {
        self.0.retain(|(n, _)| !n.eq_ignore_ascii_case(name.as_bytes()));
    }

    pub(crate) fn has_token(&self, name: &str, token: &str) -> bool {
        self.all(name).iter().any(|value| {
            String::from_utf8_lossy(value).split(',').any(|part| part.trim().eq_ignore_ascii_case(token))
        })
    }
}

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let readable = |bytes: &[u8]| bytes.escape_ascii().to_string();
        f.debug_list()
            .entries(self.0.iter().map(|(n, v)| format!("{}: {}", readable(n), readable(v))))
            .finish()
    }
}

/// A request, to be sent or as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// The method, upper case by convention and not checked.
    pub method: String,
    /// The request target: path and query.
    pub target: String,
    /// The fields, in order.
    pub headers: Headers,
    /// The body, without the transfer coding.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Headers,
}

impl Request {
    /// A request without headers or a body.
    pub fn new(method: &str, target: &str) -> Self {
        Self {
            method: method.to_owned(),
            target: target.to_owned(),
            headers: Headers::default(),
            body: Vec::new(),
            trailers: Headers::default(),
        }
    }

    /// `GET target`.
    pub fn get(target: &str) -> Self {
        Self::new("GET", target)
    }

    /// `POST target` with a body and its type.
    pub fn post(target: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Self {
        Self::new("POST", target).header("content-type", content_type).body(body)
    }

    /// Appends a header field.
    pub fn header(mut self, name: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        self.headers.push(name, value);
        self
    }

    /// Sets the body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The target up to the query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The body as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; a body that is not JSON fails the test.
    pub fn json(&self) -> serde_json::Value {
        parse_json(&self.body)
    }

    /// Whether a text stands anywhere in it: in the target, a header or the body.
    pub fn contains(&self, text: &str) -> bool {
        contains(self.target.as_bytes(), text)
            || contains(&self.body, text)
            || self
                .headers
                .pairs()
                .chain(self.trailers.pairs())
                .any(|(name, value)| contains(name, text) || contains(value, text))
    }

    /// The bytes on the wire, with `content-length` unless a framing header is set.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut headers = self.headers.clone();
        let framed = headers.contains("content-length") || headers.contains("transfer-encoding");
        let expects_body = !self.body.is_empty() || matches!(&*self.method, "POST" | "PUT");
        if !framed && expects_body {
            headers.push("content-length", self.body.len().to_string());
        }
        let mut bytes = head_bytes(&format!("{} {} HTTP/1.1", self.method, self.target), &headers);
        bytes.extend_from_slice(&self.body);
        bytes
    }

    /// The bytes on the wire in chunks of `size` body bytes, then the trailers.
    pub fn to_chunked_bytes(&self, size: usize) -> Vec<u8> {
        let mut headers = self.headers.clone();
        headers.remove("content-length");
        headers.push("transfer-encoding", "chunked");
        let mut bytes = head_bytes(&format!("{} {} HTTP/1.1", self.method, self.target), &headers);
        for chunk in self.body.chunks(size) {
            bytes.extend_from_slice(format!("{:x}\r\n", chunk.len()).as_bytes());
            bytes.extend_from_slice(chunk);
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(&head_bytes("0", &self.trailers));
        bytes
    }
}

/// A response, to be sent or as it was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// The status of the final response.
    pub status: u16,
    /// The statuses of the interim (1xx) responses before it.
    pub interim: Vec<u16>,
    /// The fields, in order.
    pub headers: Headers,
    /// The body, without the transfer coding.
    pub body: Vec<u8>,
    /// The trailer fields of a chunked body.
    pub trailers: Headers,
}

impl Response {
    /// A response without headers or a body.
    pub fn new(status: u16) -> Self {
        Self {
            status,
            interim: Vec::new(),
            headers: Headers::default(),
            body: Vec::new(),
            trailers: Headers::default(),
        }
    }

    /// The body as text, invalid UTF-8 replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON; a body that is not JSON fails the test.
    pub fn json(&self) -> serde_json::Value {
        parse_json(&self.body)
    }

    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The bytes on the wire, interim responses first, with `content-length` where one is allowed.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for interim in &self.interim {
            bytes.extend(head_bytes(&format!("HTTP/1.1 {interim} Interim"), &Headers::default()));
        }
        let mut headers = self.headers.clone();
        if !bodiless(self.status) && !headers.contains("content-length") {
            headers.push("content-length", self.body.len().to_string());
        }
        bytes.extend(head_bytes(&format!("HTTP/1.1 {} Answer", self.status), &headers));
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

/// RFC 9110, section 6.4.1: these never have content, whatever their headers say.
pub(crate) fn bodiless(status: u16) -> bool {
    matches!(status, 100..200 | 204 | 304)
}

fn head_bytes(first_line: &str, headers: &Headers) -> Vec<u8> {
    let mut bytes = format!("{first_line}\r\n").into_bytes();
    for (name, value) in headers.pairs() {
        bytes.extend_from_slice(name);
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes.extend_from_slice(b"\r\n");
    bytes
}

/// Whether a text stands somewhere in bytes.
pub(crate) fn contains(bytes: &[u8], text: &str) -> bool {
    text.is_empty() || bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

fn parse_json(body: &[u8]) -> serde_json::Value {
    serde_json::from_slice(body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", body.escape_ascii()))
}
