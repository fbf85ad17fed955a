//! A stream's story: one future for the way to the upstream, one for the way back, each ended at
//! most once, whichever callback brings the event it waits for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::task::Poll;

use crate::config::{ConfigError, Fields};
use crate::host::{Body, Host, Level, Map, Phase};
use crate::http::{Headers, Refusal, Reply};
use crate::readiness;
use crate::runtime::{Runtime, Story};

/// A filter, as configured: it tells the story of each request.
pub trait Filter {
    /// The request's story.
    fn request(self: Rc<Self>, stream: Stream) -> Story<Verdict>;

    /// Whether keys, secrets and tokens are there; asked for where they are not.
    fn is_ready(&self) -> bool {
        true
    }
}

/// A filter as a module offers it.
pub struct Definition {
    /// Its name, which is its `root_id` where a module holds several.
    pub name: &'static str,
    /// Top-level fields of its configuration beside `version`, `services` and `rules`.
    pub sections: &'static [&'static str],
    /// Counters that are reported from the start, as parts of their names.
    pub counters: &'static [&'static [&'static str]],
    /// Configuration as written → filter as used.
    pub configure: Configure,
}

/// Reads a filter's configuration.
pub type Configure = fn(&Fields<'_>, &Rc<Runtime>) -> Result<Rc<dyn Filter>, ConfigError>;

/// How a request's story ends.
pub enum Verdict {
    /// The next filter may have it.
    Continue,
    /// The next filter may have it, and this is the response's story. It is told once the
    /// response's headers are there, and holds them until it ends.
    ContinueThen(Story<()>),
    /// Answered here, as the sender wants it.
    Reply(Reply),
    /// Answered here, and this is told as the answer comes back through the filter, which may then change
    /// its headers. It does not wait for anything.
    ReplyThen(Reply, Story<()>),
    /// Refused: answered, logged and counted.
    Refuse(Refusal),
    /// Refused, logged and counted like any other, but answered as a page or with a challenge.
    RefuseWith(Refusal, Reply),
}

impl From<Result<Verdict, Refusal>> for Verdict {
    fn from(result: Result<Verdict, Refusal>) -> Self {
        result.unwrap_or_else(Verdict::Refuse)
    }
}

/// What a story may do with its stream. Header edits and body writes are possible until it ends.
#[derive(Clone)]
pub struct Stream(Rc<StreamState>);

struct StreamState {
    runtime: Rc<Runtime>,
    headers: Headers,
    /// Whether the request has ended.
    ended: Cell<bool>,
    /// What is buffered; `None` where not even an empty piece of a body came. Then there is no
    /// buffer to write to, and the proxy ends the VM that tries.
    body_bytes: Cell<Option<usize>>,
    body_limit: Cell<usize>,
    response_discarded: Cell<bool>,
}

/// A request body is over the limit it was asked with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TooLarge;

impl Stream {
    /// The runtime that shared fetches and publishes belong to.
    pub fn runtime(&self) -> &Rc<Runtime> {
        &self.0.runtime
    }

    /// The proxy.
    pub fn host(&self) -> &dyn Host {
        self.0.runtime.host()
    }

    /// The request's headers as they arrived at this filter.
    pub fn headers(&self) -> &Headers {
        &self.0.headers
    }

    /// A pseudo-header or other header that must be text; empty where it is absent or is not.
    pub fn text(&self, name: &str) -> &str {
        let value = self.0.headers.first(name).unwrap_or_default();
        std::str::from_utf8(value).unwrap_or_default()
    }

    /// The request's id, as it may stand in a log line or a page.
    pub fn request_id(&self) -> String {
        loggable(self.text("x-request-id"))
    }

    /// The whole request body, once it is there, trailers included in the wait. At most `limit`
    /// bytes: more is an error at once, before the rest has arrived.
    pub async fn request_body(&self, limit: usize) -> Result<Vec<u8>, TooLarge> {
        let announced = self.text("content-length").parse::<u64>().unwrap_or(0);
        if announced > limit as u64 {
            return Err(TooLarge);
        }
        self.0.body_limit.set(limit);
        let state = &self.0;
        let length = std::future::poll_fn(|_| match state.body_bytes.get().unwrap_or(0) {
            buffered if buffered > limit => Poll::Ready(Err(TooLarge)),
            buffered if state.ended.get() => Poll::Ready(Ok(buffered)),
            _ => Poll::Pending,
        })
        .await?;
        match length {
            0 => Ok(Vec::new()),
            length => Ok(self.host().body(Body::Request, length).unwrap_or_default()),
        }
    }

    /// Replaces the request's body and its content-length; false where the request has no body to
    /// replace. The new one must fit the connection's buffer: a caller that waited before passes no
    /// more than it was given.
    pub fn replace_request_body(&self, bytes: &[u8]) -> bool {
        let Some(buffered) = self.0.body_bytes.get() else { return false };
        self.host().set_body(Body::Request, buffered, bytes);
        let mut length = String::new();
        crate::encoding::push_decimal(&mut length, bytes.len() as u64);
        self.host().set_header(Map::Request, "content-length", Some(length.as_bytes()));
        true
    }

    /// Replaces the response by one of `status` without a body, in the response's story.
    pub fn replace_response(&self, status: u16) {
        let mut text = String::new();
        crate::encoding::push_decimal(&mut text, u64::from(status));
        let mut headers = Headers::default();
        headers.push(":status", text.as_bytes());
        if status != 204 {
            headers.push("content-length", b"0");
        }
        self.host().set_headers(Map::Response, &headers);
        self.discard_response_body();
    }

    /// Drops the response's body as it arrives.
    pub fn discard_response_body(&self) {
        self.0.response_discarded.set(true);
    }
}

/// One stream of one filter: its stories, and where they stand.
pub struct Flow {
    context: u32,
    filter: Rc<dyn Filter>,
    runtime: Rc<Runtime>,
    stream: RefCell<Option<Stream>>,
    story: RefCell<Option<Story<Verdict>>>,
    response: RefCell<Option<Story<()>>>,
    phase: Cell<Phase>,
    paused: Cell<bool>,
    answered: Cell<bool>,
}

/// What a callback returns to the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Pass on what is there.
    Continue,
    /// Hold it.
    Pause,
}

impl Flow {
    /// A flow for the stream `context`.
    pub fn new(context: u32, filter: Rc<dyn Filter>, runtime: Rc<Runtime>) -> Rc<Self> {
        Rc::new(Self {
            context,
            filter,
            runtime,
            stream: RefCell::default(),
            story: RefCell::default(),
            response: RefCell::default(),
            phase: Cell::new(Phase::Request),
            paused: Cell::new(false),
            answered: Cell::new(false),
        })
    }

    /// The request's headers are there.
    pub fn on_request_headers(self: &Rc<Self>, end_of_stream: bool) -> Step {
        let stream = Stream(Rc::new(StreamState {
            runtime: self.runtime.clone(),
            headers: self.runtime.host().headers(Map::Request),
            ended: Cell::new(end_of_stream),
            body_bytes: Cell::new(None),
            body_limit: Cell::new(0),
            response_discarded: Cell::new(false),
        }));
        self.stream.replace(Some(stream.clone()));
        let story: Story<Verdict> = match self.runtime.asks_whether_ready(stream.text(":path")) {
            true => Box::pin(readiness::answer(self.filter.clone(), stream)),
            false => self.filter.clone().request(stream),
        };
        self.story.replace(Some(story));
        self.step()
    }

    /// `buffered` bytes of the request's body are there.
    pub fn on_request_body(self: &Rc<Self>, buffered: usize, end_of_stream: bool) -> Step {
        if self.phase.get() == Phase::Response || !self.is_waiting() {
            return Step::Continue;
        }
        let Some(stream) = self.stream.borrow().clone() else {
            return Step::Continue;
        };
        stream.0.body_bytes.set(Some(buffered));
        if end_of_stream {
            stream.0.ended.set(true);
        } else if buffered <= stream.0.body_limit.get() || stream.0.body_limit.get() == 0 {
            return Step::Pause;
        }
        self.step()
    }

    /// The request's trailers are there, so its body is complete.
    pub fn on_request_trailers(self: &Rc<Self>) -> Step {
        if self.phase.get() == Phase::Response || !self.is_waiting() {
            return Step::Continue;
        }
        if let Some(stream) = &*self.stream.borrow() {
            stream.0.ended.set(true);
        }
        self.step()
    }

    /// The response's headers are there, be it the upstream's or the proxy's own answer.
    pub fn on_response_headers(self: &Rc<Self>) -> Step {
        // A filter's own answer comes back to it; a request that is still waiting was ended by the
        // proxy (deadline of the route), so its story must not go on.
        self.story.replace(None);
        self.phase.set(Phase::Response);
        let response = self.response.take();
        self.story.replace(response.map(|response| -> Story<Verdict> {
            Box::pin(async move {
                response.await;
                Verdict::Continue
            })
        }));
        self.step()
    }

    /// `length` bytes of the response's body are there.
    pub fn on_response_body(&self, length: usize) -> Step {
        if let Some(stream) = &*self.stream.borrow()
            && (stream.0.response_discarded.get() || self.is_waiting())
            && length > 0
        {
            self.runtime.host().set_body(Body::Response, length, b"");
        }
        if self.is_waiting() { Step::Pause } else { Step::Continue }
    }

    /// The response's trailers are there.
    pub fn on_response_trailers(&self) -> Step {
        if self.is_waiting() { Step::Pause } else { Step::Continue }
    }

    pub(crate) fn is_waiting(&self) -> bool {
        self.story.borrow().is_some()
    }

    /// Polled by the root, because what the story waits for happened or its deadline passed.
    pub(crate) fn wake(self: &Rc<Self>) {
        if !self.is_waiting() || self.runtime.host().enter(self.context).is_err() {
            return;
        }
        if self.step() == Step::Continue && self.paused.replace(false) && !self.answered.get() {
            self.runtime.host().resume(self.phase.get());
        }
    }

    fn step(self: &Rc<Self>) -> Step {
        let Some(mut story) = self.story.take() else {
            return Step::Continue;
        };
        match self.runtime.poll_stream(self, &mut story) {
            Poll::Pending => {
                self.story.replace(Some(story));
                self.paused.set(true);
                Step::Pause
            }
            Poll::Ready(verdict) => self.end(verdict),
        }
    }

    fn end(&self, verdict: Verdict) -> Step {
        let reply = match verdict {
            Verdict::Continue => return Step::Continue,
            Verdict::ContinueThen(response) => {
                self.response.replace(Some(response));
                return Step::Continue;
            }
            Verdict::Reply(reply) => reply,
            Verdict::ReplyThen(reply, response) => {
                self.response.replace(Some(response));
                reply
            }
            Verdict::Refuse(refusal) => {
                self.report(&refusal);
                refusal.reply()
            }
            Verdict::RefuseWith(refusal, reply) => {
                self.report(&refusal);
                reply
            }
        };
        if self.phase.get() == Phase::Request {
            self.answered.set(true);
            self.runtime.host().reply(&reply);
        }
        Step::Pause
    }

    /// One line, one count and one property for each refusal; none of them holds anything a client
    /// sent but the request id, reduced to characters that cannot forge a line.
    fn report(&self, refusal: &Refusal) {
        let host = self.runtime.host();
        self.runtime.count(&["refused", refusal.reason]);
        let mut mark = String::from(self.runtime.filter());
        mark.push(':');
        mark.push_str(refusal.reason);
        host.set_property("lockgate_refused", mark.as_bytes());

        let mut line = String::from("lockgate filter=");
        line.push_str(self.runtime.filter());
        line.push_str(" refused reason=");
        line.push_str(refusal.reason);
        line.push_str(" status=");
        crate::encoding::push_decimal(&mut line, u64::from(refusal.status));
        line.push_str(" request_id=");
        if let Some(stream) = &*self.stream.borrow() {
            line.push_str(&stream.request_id());
        }
        host.log(Level::Warn, &line);
    }
}

/// A client's value as it may stand in a log line: at most 64 characters, and only those of ids.
pub fn loggable(value: &str) -> String {
    let id = |c: char| {
        if c.is_ascii_alphanumeric() || "-_.:".contains(c) { c } else { '?' }
    };
    value.chars().take(64).map(id).collect()
}
