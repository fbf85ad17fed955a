//! Publishing to a Pub/Sub topic: alone when idle, together under load. What arrives while a publish
//! is out joins the next one, so a lone webhook never waits and a burst costs one call.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;

use crate::access_token::AccessTokens;
use crate::answer::Answer;
use crate::encoding::push_base64;
use crate::event::Event;
use crate::json::{Json, write_string};
use crate::runtime::{Runtime, Story};
use crate::services::Services;

/// Pub/Sub's limit for one request (cloud.google.com/pubsub/quotas#resource_limits).
const MAX_BATCH: usize = 1_000;

/// Bytes of one request at most; Pub/Sub's own limit is 10 MB.
const MAX_BATCH_BYTES: usize = 8_000_000;

/// Bytes that wait to be published at once, in one worker. A VM has 1 GiB, and a message is copied
/// on its way out.
const MAX_QUEUED_BYTES: usize = 64_000_000;

/// A publish that takes longer than this does not hold up those behind it, in milliseconds.
const STALLED_MS: u64 = 150;

/// Publishes of one topic that are out at once, when the first ones stall.
const MAX_IN_FLIGHT: usize = 4;

/// A second attempt follows the first after this long, in milliseconds.
const RETRY_AFTER_MS: u64 = 100;

/// Time for one attempt, in milliseconds.
const ATTEMPT_MS: u64 = 900;

/// Why a message was not stored, as far as we know. It may have been: an answer can be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PublishError {
    /// Too many streams wait in this worker.
    Busy,
    /// No access token could be had.
    Unauthorized,
    /// Pub/Sub refused, failed, or did not answer in time.
    Failed,
}

impl PublishError {
    /// In a word, for logs and metrics.
    pub fn reason(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Unauthorized => "no_access_token",
            Self::Failed => "publish_failed",
        }
    }
}

/// A topic's publisher, one a root.
#[derive(Clone)]
pub struct Publisher(Rc<State>);

struct State {
    runtime: Rc<Runtime>,
    services: Rc<Services>,
    tokens: AccessTokens,
    path: String,
    queue: RefCell<VecDeque<Queued>>,
    queued_bytes: Cell<usize>,
    flushing: Cell<usize>,
}

struct Queued {
    message: Vec<u8>,
    deadline: u64,
    done: Event<Result<(), PublishError>>,
}

/// A message as the API takes it, of data that came as base64.
pub fn message(data_base64: &str, attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = begin_message(data_base64.len());
    out.extend_from_slice(data_base64.as_bytes());
    end_message(out, attributes)
}

/// [`message`] of bytes.
pub fn message_of(data: &[u8], attributes: &[(&str, &str)]) -> Vec<u8> {
    let mut out = begin_message(data.len().div_ceil(3) * 4);
    push_base64(&mut out, data);
    end_message(out, attributes)
}

fn begin_message(data_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(data_bytes + 512);
    out.extend_from_slice(b"{\"data\":\"");
    out
}

fn end_message(mut out: Vec<u8>, attributes: &[(&str, &str)]) -> Vec<u8> {
    out.extend_from_slice(b"\",\"attributes\":{");
    for (index, (name, value)) in attributes.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        write_string(&mut out, name);
        out.push(b':');
        write_string(&mut out, value);
    }
    out.extend_from_slice(b"}}");
    out
}

/// Whether `topic` is a topic's full name.
pub fn is_topic(topic: &str) -> bool {
    let mut parts = topic.split('/');
    let named = |part: Option<&str>| {
        part.is_some_and(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_graphic()))
    };
    parts.next() == Some("projects")
        && named(parts.next())
        && parts.next() == Some("topics")
        && named(parts.next())
        && parts.next().is_none()
}

impl Publisher {
    /// A publisher to `topic`, its full name.
    pub fn new(runtime: &Rc<Runtime>, services: &Rc<Services>, tokens: &AccessTokens, topic: &str) -> Self {
        Self(Rc::new(State {
            runtime: runtime.clone(),
            services: services.clone(),
            tokens: tokens.clone(),
            path: ["/v1/", topic, ":publish"].concat(),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            flushing: Cell::new(0),
        }))
    }

    /// Whether there is a token to publish with; asked for where there is none.
    pub fn is_ready(&self) -> bool {
        self.0.tokens.prefetch()
    }

    /// Publishes, and waits until Pub/Sub says that it has it, until `deadline` (ms since 1970).
    pub fn publish(&self, message: Vec<u8>, deadline: u64) -> Story<Result<(), PublishError>> {
        let publisher = self.clone();
        // Made here, it is in a module once; a future of an async function is in each crate that waits for it.
        Box::pin(async move { publisher.store(message, deadline).await })
    }

    /// The same without waiting for others to publish with: for messages that come one at a time, where the
    /// code that collects them is not worth its bytes. For tasks of the root.
    pub fn publish_alone(&self, message: Vec<u8>, deadline: u64) -> Story<Result<(), PublishError>> {
        let publisher = self.clone();
        Box::pin(async move {
            // Held, so that the message does not look like one whose sender has left.
            let done = Event::default();
            let mut batch = vec![Queued { message, deadline, done: done.clone() }];
            publisher.send(&mut batch).await
        })
    }

    async fn store(&self, message: Vec<u8>, deadline: u64) -> Result<(), PublishError> {
        let state = &self.0;
        let queued_bytes = state.queued_bytes.get() + message.len();
        if state.runtime.is_crowded() || queued_bytes > MAX_QUEUED_BYTES {
            return Err(PublishError::Busy);
        }
        state.queued_bytes.set(queued_bytes);
        let done = Event::default();
        state.queue.borrow_mut().push_back(Queued { message, deadline, done: done.clone() });
        if state.flushing.get() == 0 {
            self.flush();
        }
        let stalled = (state.runtime.host().now_ms() + STALLED_MS).min(deadline);
        let mut result = done.wait(&state.runtime, stalled).await;
        if result.is_none() && !state.queue.borrow().is_empty() && state.flushing.get() < MAX_IN_FLIGHT {
            self.flush();
        }
        if result.is_none() {
            result = done.wait(&state.runtime, deadline).await;
        }
        result.unwrap_or(Err(PublishError::Failed))
    }

    fn flush(&self) {
        let publisher = self.clone();
        self.0.flushing.set(self.0.flushing.get() + 1);
        self.0.runtime.spawn(Box::pin(async move {
            loop {
                let mut batch = publisher.take_batch();
                if batch.is_empty() {
                    break;
                }
                let result = publisher.send(&mut batch).await;
                for queued in batch {
                    queued.done.settle(&publisher.0.runtime, result);
                }
            }
            publisher.0.flushing.set(publisher.0.flushing.get() - 1);
        }));
    }

    fn take_batch(&self) -> Vec<Queued> {
        let mut queue = self.0.queue.borrow_mut();
        let now = self.0.runtime.host().now_ms();
        let (mut batch, mut bytes) = (Vec::new(), 0);
        while let Some(queued) = queue.front() {
            bytes += queued.message.len();
            if !batch.is_empty() && (batch.len() == MAX_BATCH || bytes > MAX_BATCH_BYTES) {
                break;
            }
            // Whoever left or was answered 5xx sends again; their message need not be stored twice.
            let waits = !queued.done.is_abandoned() && now < queued.deadline;
            let Some(queued) = queue.pop_front() else { break };
            self.0.queued_bytes.set(self.0.queued_bytes.get().saturating_sub(queued.message.len()));
            if waits {
                batch.push(queued);
            }
        }
        batch
    }

    async fn send(&self, batch: &mut Vec<Queued>) -> Result<(), PublishError> {
        let state = &self.0;
        let host = state.runtime.host();
        let deadline = batch.iter().map(|queued| queued.deadline).max().unwrap_or_default();
        let mut attempts = 0;
        while !batch.is_empty() {
            let token = state.tokens.value(deadline).await.map_err(|_| PublishError::Unauthorized)?;
            let started = host.now_ms();
            let mut call = state.services.pubsub.post_json(&state.path, &token, body_of(batch));
            call.timeout_ms = ATTEMPT_MS.min(deadline.saturating_sub(started)).max(1);
            let answer = state.runtime.call(call).await;
            state.runtime.record_ms(&["publish_ms"], host.now_ms().saturating_sub(started));
            if is_stored(&answer, batch.len()) {
                return Ok(());
            }
            if answer.status == 401 {
                state.tokens.forget();
            }
            attempts += 1;
            state.runtime.count(&["publish_failed"]);
            let again = host.now_ms() + RETRY_AFTER_MS;
            if attempts == 2 || again >= deadline || !is_transient(answer.status) {
                return Err(PublishError::Failed);
            }
            state.runtime.sleep(again).await;
            // Whoever left meanwhile sends again, if they do.
            batch.retain(|queued| !queued.done.is_abandoned());
        }
        Err(PublishError::Failed)
    }
}

/// A request to publish all of a batch.
fn body_of(batch: &[Queued]) -> Vec<u8> {
    let mut body =
        Vec::with_capacity(batch.iter().map(|queued| queued.message.len() + 1).sum::<usize>() + 32);
    body.extend_from_slice(b"{\"messages\":[");
    for (index, queued) in batch.iter().enumerate() {
        if index > 0 {
            body.push(b',');
        }
        body.extend_from_slice(&queued.message);
    }
    body.extend_from_slice(b"]}");
    body
}

/// An id for each message is the only word that means stored.
fn is_stored(answer: &Answer, messages: usize) -> bool {
    answer.is_success()
        && Json::parse(&answer.body)
            .ok()
            .and_then(|json| json.field("messageIds"))
            .is_some_and(|ids| ids.elements().count() == messages)
}

/// The errors that Google's client libraries retry a publish for, as HTTP statuses, and those of a
/// connection; 401 because a token may have been revoked.
fn is_transient(status: u16) -> bool {
    matches!(status, 0 | 401 | 408 | 409 | 429 | 499) || status >= 500
}
