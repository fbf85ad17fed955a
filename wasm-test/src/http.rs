//! Requests and responses as plain values, for both sides of the gateway and for backends.

use crate::headers::Headers;

/// A request: of a client, of the filter's own calls, or as it reaches the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Request {
    /// Method.
    pub method: String,
    /// Path with query.
    pub path: String,
    /// Scheme, `http` unless set.
    pub scheme: String,
    /// Host and, where needed, port.
    pub authority: String,
    /// Headers without the pseudo-headers.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Headers,
    /// What followed the body although `content-length` had ended it: over HTTP/1.1 the other side
    /// reads it as the start of the next message. Anything here is request smuggling.
    pub surplus: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) chunked: bool,
    pub(crate) http2: bool,
    pub(crate) source: Option<String>,
    pub(crate) filter_state: Vec<(String, Vec<u8>)>,
}

impl Request {
    /// A request without a body. The host is `gateway.test` unless set.
    pub fn new(method: &str, path: &str) -> Self {
        Self {
            method: method.to_owned(),
            path: path.to_owned(),
            scheme: "http".to_owned(),
            authority: "gateway.test".to_owned(),
            ..Self::default()
        }
    }

    /// A GET request.
    pub fn get(path: &str) -> Self {
        Self::new("GET", path)
    }

    /// A POST request.
    pub fn post(path: &str) -> Self {
        Self::new("POST", path)
    }

    /// Adds a header; the value may be any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Sets the host.
    #[must_use]
    pub fn host(mut self, authority: &str) -> Self {
        self.authority = authority.to_owned();
        self
    }

    /// Sets the scheme, as a TLS listener or `x-forwarded-proto` of a trusted hop would.
    #[must_use]
    pub fn scheme(mut self, scheme: &str) -> Self {
        self.scheme = scheme.to_owned();
        self
    }

    /// Sets the client's address (`source.address`), `127.0.0.1:40000` unless set.
    #[must_use]
    pub fn source(mut self, address: &str) -> Self {
        self.source = Some(address.to_owned());
        self
    }

    /// Sets filter state, as a filter in front of the chain would have left it.
    #[must_use]
    pub fn filter_state(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.filter_state.push((name.to_owned(), value.as_ref().to_vec()));
        self
    }

    /// Sets the body. A `content-length` is sent unless one is set or the request is chunked.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.chunks = vec![body.as_ref().to_vec()];
        self.body = body.as_ref().to_vec();
        self
    }

    /// Adds a chunk to the body; filters see one body callback for each.
    #[must_use]
    pub fn chunk(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.chunks.push(chunk.as_ref().to_vec());
        self.body.extend_from_slice(chunk.as_ref());
        self
    }

    /// Sends the body with `transfer-encoding: chunked`, without a `content-length`.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Adds a trailer; implies [`Request::chunked`].
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.add(name, value);
        self.chunked = true;
        self
    }

    /// Sends the request over HTTP/2, where the last chunk ends the stream. Over HTTP/1.1 an empty
    /// one follows it.
    #[must_use]
    pub fn http2(mut self) -> Self {
        self.http2 = true;
        self
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the request is sent with `transfer-encoding: chunked`.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    pub(crate) fn has_body(&self) -> bool {
        self.chunked || !self.body.is_empty() || !self.trailers.is_empty()
    }
}

/// A response: to the client, of a backend, or of the upstream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Response {
    /// Status code; 0 where the stream ended before any header came.
    pub status: u16,
    /// Headers without `:status`.
    pub headers: Headers,
    /// The whole body.
    pub body: Vec<u8>,
    /// Trailers.
    pub trailers: Headers,
    /// Whether the stream was cut before the response was complete.
    pub reset: bool,
    /// As [`Request::surplus`]: what followed the end that `content-length` gave.
    pub surplus: Vec<u8>,
    pub(crate) chunks: Vec<Vec<u8>>,
    pub(crate) chunked: bool,
}

impl Response {
    /// A response without a body.
    pub fn new(status: u16) -> Self {
        Self { status, ..Self::default() }
    }

    /// Adds a header; the value may be any bytes.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.headers.add(name, value);
        self
    }

    /// Sets the body. A `content-length` is sent unless one is set or the response is chunked.
    #[must_use]
    pub fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.chunks = vec![body.as_ref().to_vec()];
        self.body = body.as_ref().to_vec();
        self
    }

    /// Adds a chunk to the body; filters see one body callback for each.
    #[must_use]
    pub fn chunk(mut self, chunk: impl AsRef<[u8]>) -> Self {
        self.chunks.push(chunk.as_ref().to_vec());
        self.body.extend_from_slice(chunk.as_ref());
        self
    }

    /// Sends the body with `transfer-encoding: chunked`, without a `content-length`.
    #[must_use]
    pub fn chunked(mut self) -> Self {
        self.chunked = true;
        self
    }

    /// Adds a trailer; implies [`Response::chunked`].
    #[must_use]
    pub fn trailer(mut self, name: &str, value: impl AsRef<[u8]>) -> Self {
        self.trailers.add(name, value);
        self.chunked = true;
        self
    }

    /// The body as text; bytes that are not UTF-8 are replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Whether the response is sent with `transfer-encoding: chunked`.
    pub fn is_chunked(&self) -> bool {
        self.chunked
    }

    /// The chunks of the body, as they were added.
    pub fn chunks(&self) -> &[Vec<u8>] {
        &self.chunks
    }

    /// The pairs that Envoy's codec would hand to the filters.
    pub(crate) fn wire_headers(&self) -> Headers {
        let mut headers: Headers = [(":status", self.status.to_string())].into_iter().collect();
        for (name, value) in self.headers.iter() {
            headers.add(name, value);
        }
        let bodyless = matches!(self.status, 100..200 | 204 | 304);
        if !self.chunked && !bodyless && headers.get("content-length").is_none() {
            headers.add("content-length", self.body.len().to_string());
        }
        headers
    }
}

/// Cuts a message at its `content-length`, as an HTTP/1.1 peer reads it: the body, the surplus, and
/// whether all that was announced is there.
pub(crate) fn delimit(headers: &Headers, mut body: Vec<u8>) -> (Vec<u8>, Vec<u8>, bool) {
    let announced = headers.text("content-length").and_then(|length| length.trim().parse().ok());
    match announced {
        Some(length) if length < body.len() => {
            let surplus = body.split_off(length);
            (body, surplus, true)
        }
        Some(length) if length > body.len() => (body, Vec::new(), false),
        _ => (body, Vec::new(), true),
    }
}
