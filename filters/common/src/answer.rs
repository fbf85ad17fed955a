//! The answer to a call, copied while it can be read.

use std::rc::Rc;

use crate::host::{Body, Host, Map};
use crate::http::Headers;

/// The answer to a call.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status; 503 and 504 are also the proxy's own, when it could not reach the service or the
    /// service was too slow. 0: the connection was reset, or the answer was over the proxy's limit.
    pub status: u16,
    /// Body, at most [`MAX_ANSWER_BYTES`].
    pub body: Rc<Vec<u8>>,
    /// Headers.
    pub headers: Rc<Headers>,
}

impl Answer {
    const NONE: u16 = 0;

    /// The connection was reset, or the call could not be sent.
    pub fn none() -> Self {
        Self { status: Self::NONE, body: Rc::default(), headers: Rc::default() }
    }

    /// Reads the answer that is being delivered. No headers at all is how the proxy says that the
    /// connection was reset, or that the answer was over its own limit.
    pub(crate) fn read(host: &dyn Host, headers: usize, body: usize) -> Self {
        if headers == 0 || body > MAX_ANSWER_BYTES {
            return Self::none();
        }
        let headers = host.headers(Map::CallResponse);
        let status =
            headers.first(":status").and_then(|status| std::str::from_utf8(status).ok()?.parse().ok());
        let body = host.body(Body::CallResponse, body).unwrap_or_default();
        Self { status: status.unwrap_or(Self::NONE), body: Rc::new(body), headers: Rc::new(headers) }
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The largest answer that is read. Key sets and secrets are a few kilobytes (Secret Manager's
/// limit for a version is 64 KiB).
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;
