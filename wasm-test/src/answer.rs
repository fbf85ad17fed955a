//! What a backend or the upstream does with a request.

use std::time::Duration;

use crate::http::Response;

/// What a backend does with a call. Backends return a [`Response`] or one of these.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Answers at once.
    Response(Response),
    /// Answers once this much time has passed.
    After(Duration, Box<Answer>),
    /// Does not answer until the test does so ([`crate::Gateway::answer`]); when the call's own
    /// timeout comes first, the host answers 504 in its place.
    Hold,
    /// Cannot be connected to: the host answers 503 in its place.
    Refuse,
    /// Breaks off after its headers, or sends more than the host buffers (32 MiB): the filter gets
    /// a callback without any header. An upstream sends half of a 200, and the stream is cut.
    Reset,
}

impl Answer {
    /// The same answer, `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self::After(delay, Box::new(self))
    }
}

impl From<Response> for Answer {
    fn from(response: Response) -> Self {
        Self::Response(response)
    }
}
