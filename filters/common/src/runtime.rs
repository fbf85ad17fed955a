//! What a root context keeps while streams wait: who waits for what, until when.
//!
//! There is no executor. A stream's story is one future, polled in the callback that brought its
//! event; a root's task (a shared fetch, a batch of publishes) likewise. Calls are made by tasks
//! alone: the SDK gives an answer to the context that was active when the call was made, so a call
//! made by a stream would be lost with it, and with it everybody who waited for the same thing.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::Future;
use std::pin::Pin;
use std::rc::{Rc, Weak};
use std::task::{Context, Poll, Waker};

use crate::flow::Flow;
use crate::host::{Body, Call, Host, Level, Map};
use crate::http::Headers;

/// A future of a stream or a task. Boxed, because it must not move while it waits.
pub type Story<T> = Pin<Box<dyn Future<Output = T>>>;

/// How often deadlines are looked at while something waits, in milliseconds. A deadline is met at
/// most this much late.
const TICK_MS: u64 = 50;

/// Streams that may wait for the root at once, in one worker. Beyond it a request is refused with
/// 503, so that a queue that does not answer cannot fill the memory of the proxy.
pub const MAX_WAITING: usize = 512;

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
        Self {
            status: Self::NONE,
            body: Rc::default(),
            headers: Rc::default(),
        }
    }

    /// 2xx.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }
}

/// The largest answer that is read. Key sets and secrets are a few kilobytes (Secret Manager's
/// limit for a version is 64 KiB).
pub const MAX_ANSWER_BYTES: usize = 256 * 1024;

/// One root context's streams, tasks, calls and deadlines.
pub struct Runtime {
    host: Rc<dyn Host>,
    filter: &'static str,
    root: u32,
    queue: Cell<Option<u32>>,
    in_root: Cell<bool>,
    woken: Cell<bool>,
    ticking: Cell<bool>,
    waiting: Cell<usize>,
    polling: RefCell<Option<Owner>>,
    ready: RefCell<VecDeque<Owner>>,
    calls: RefCell<Vec<(u32, Event<Answer>)>>,
    deadlines: RefCell<Vec<(u64, Owner)>>,
    metrics: RefCell<Vec<(Vec<&'static str>, Option<u32>)>>,
}

#[derive(Clone)]
enum Owner {
    Stream(Weak<Flow>),
    Task(Rc<Task>),
}

struct Task(RefCell<Option<Story<()>>>);

impl Runtime {
    /// A runtime for the root context `root` of the filter `filter`.
    pub fn new(host: Rc<dyn Host>, filter: &'static str, root: u32) -> Rc<Self> {
        Rc::new(Self {
            host,
            filter,
            root,
            queue: Cell::new(None),
            in_root: Cell::new(false),
            woken: Cell::new(false),
            ticking: Cell::new(false),
            waiting: Cell::new(0),
            polling: RefCell::new(None),
            ready: RefCell::default(),
            calls: RefCell::default(),
            deadlines: RefCell::default(),
            metrics: RefCell::default(),
        })
    }

    /// The proxy.
    pub fn host(&self) -> &dyn Host {
        &*self.host
    }

    /// The filter's name, as in logs and metrics.
    pub fn filter(&self) -> &'static str {
        self.filter
    }

    /// Registers the queue through which streams wake this root. Its name is random: the last one
    /// to register a name owns it, and every worker registers.
    pub fn listen(&self) {
        let mut bytes = [0; 16];
        self.host.random(&mut bytes);
        let mut name = String::from("lockgate-");
        crate::encoding::push_hex(&mut name, &bytes);
        self.queue.set(self.host.register_queue(&name));
    }

    /// Starts a task. It is polled in the root, now if this is a root's callback.
    pub fn spawn(&self, story: Story<()>) {
        let task = Rc::new(Task(RefCell::new(Some(story))));
        self.ready.borrow_mut().push_back(Owner::Task(task));
        self.wake();
    }

    /// Makes a call and waits for its answer; for tasks only. Every answer arrives: the proxy makes
    /// one when the service does not.
    pub async fn call(self: &Rc<Self>, call: Call) -> Answer {
        let event = Event::default();
        match self.host.dispatch(&call) {
            Ok(token) => self.calls.borrow_mut().push((token, event.clone())),
            Err(_) => {
                let mut line =
                    String::from("lockgate call not sent: the cluster is missing or full: ");
                line.push_str(&call.cluster);
                self.host.log(Level::Error, &line);
                return Answer::none();
            }
        }
        // The proxy's own deadline ends a call, so this one only guards against a lost answer.
        let deadline = self.host.now_ms() + call.timeout_ms + 1_000;
        event
            .wait(self, deadline)
            .await
            .unwrap_or_else(Answer::none)
    }

    /// Waits until `until` (milliseconds since 1970), or up to a tick longer.
    pub async fn sleep(self: &Rc<Self>, until: u64) {
        Event::<()>::default().wait(self, until).await;
    }

    /// Whether as many streams wait for the root as may; a further one does not get to.
    pub fn is_crowded(&self) -> bool {
        let stream = matches!(&*self.polling.borrow(), Some(Owner::Stream(_)));
        stream && self.waiting.get() >= MAX_WAITING
    }

    /// Counts one under `lockgate.<filter>.<parts joined by dots>`.
    pub fn count(&self, parts: &[&'static str]) {
        if let Some(metric) = self.metric(crate::host::Metric::Counter, parts) {
            self.host.increment(metric);
        }
    }

    /// Records milliseconds in the histogram of that name.
    pub fn record_ms(&self, parts: &[&'static str], ms: u64) {
        if let Some(metric) = self.metric(crate::host::Metric::Histogram, parts) {
            self.host.record(metric, ms);
        }
    }

    /// Defines a counter, so that it is reported as zero before it first counts.
    pub fn define_counter(&self, parts: &[&'static str]) {
        self.metric(crate::host::Metric::Counter, parts);
    }

    fn metric(&self, kind: crate::host::Metric, parts: &[&'static str]) -> Option<u32> {
        let mut metrics = self.metrics.borrow_mut();
        if let Some((_, id)) = metrics.iter().find(|(other, _)| other == parts) {
            return *id;
        }
        let mut name = String::from("lockgate.");
        name.push_str(&self.filter.replace('-', "_"));
        for part in parts {
            name.push('.');
            name.push_str(part);
        }
        let id = self.host.define_metric(kind, &name);
        metrics.push((parts.to_vec(), id));
        id
    }

    /// The root's queue has something.
    pub fn on_queue_ready(&self, queue: u32) {
        while self.host.dequeue(queue) {}
        self.woken.set(false);
        self.run();
    }

    /// Deadlines: whoever waits past one is polled, and finds out.
    pub fn on_tick(&self) {
        let now = self.host.now_ms();
        let mut deadlines = self.deadlines.borrow_mut();
        deadlines.retain(|(deadline, owner)| {
            if !owner.is_waiting() {
                return false;
            }
            if *deadline <= now {
                self.ready.borrow_mut().push_back(owner.clone());
                return false;
            }
            true
        });
        if deadlines.is_empty() {
            self.ticking.set(false);
            self.host.set_tick(0);
        }
        drop(deadlines);
        self.run();
    }

    /// The answer to a call came. Copied before anything else runs: it is readable only now.
    pub fn on_call_response(&self, token: u32, headers: usize, body: usize) {
        let mut calls = self.calls.borrow_mut();
        let Some(index) = calls.iter().position(|(other, _)| *other == token) else {
            return;
        };
        let (_, event) = calls.swap_remove(index);
        drop(calls);
        event.settle(self, self.read_answer(headers, body));
        self.run();
    }

    fn read_answer(&self, headers: usize, body: usize) -> Answer {
        if headers == 0 {
            return Answer::none();
        }
        let headers = self.host.headers(Map::CallResponse);
        let status = headers
            .first(":status")
            .and_then(|status| std::str::from_utf8(status).ok()?.parse().ok())
            .unwrap_or(Answer::NONE);
        if body > MAX_ANSWER_BYTES {
            return Answer::none();
        }
        let body = self.host.body(Body::CallResponse, body).unwrap_or_default();
        Answer {
            status,
            body: Rc::new(body),
            headers: Rc::new(headers),
        }
    }

    /// Polls everyone whose event came, until nobody is left. Only in the root's callbacks.
    fn run(&self) {
        self.in_root.set(true);
        loop {
            let Some(owner) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            self.poll(owner);
        }
        let _ = self.host.enter(self.root);
        self.in_root.set(false);
    }

    fn poll(&self, owner: Owner) {
        match &owner {
            Owner::Stream(flow) => {
                if let Some(flow) = flow.upgrade() {
                    flow.wake();
                }
            }
            Owner::Task(task) => {
                // A task calls out, and the proxy ties a call to the context in force.
                let _ = self.host.enter(self.root);
                let Some(mut story) = task.0.take() else {
                    return;
                };
                if self.poll_as(owner.clone(), &mut story).is_pending() {
                    task.0.replace(Some(story));
                }
            }
        }
    }

    pub(crate) fn poll_stream<T>(&self, flow: &Rc<Flow>, story: &mut Story<T>) -> Poll<T> {
        self.poll_as(Owner::Stream(Rc::downgrade(flow)), story)
    }

    fn poll_as<T>(&self, owner: Owner, story: &mut Story<T>) -> Poll<T> {
        let before = self.polling.replace(Some(owner));
        let result = story.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        self.polling.replace(before);
        result
    }

    fn wake(&self) {
        if !self.in_root.get()
            && !self.woken.replace(true)
            && let Some(queue) = self.queue.get()
        {
            self.host.enqueue(queue);
        }
    }

    fn arm(&self, deadline: u64, owner: Owner) {
        self.deadlines.borrow_mut().push((deadline, owner));
        if !self.ticking.replace(true) {
            self.host.set_tick(TICK_MS);
        }
    }
}

impl Owner {
    fn is_waiting(&self) -> bool {
        match self {
            Owner::Stream(flow) => flow.upgrade().is_some_and(|flow| flow.is_waiting()),
            Owner::Task(task) => task.0.borrow().is_some(),
        }
    }
}

/// Something that happens once, for any number of waiters.
pub struct Event<T>(Rc<RefCell<EventState<T>>>);

struct EventState<T> {
    value: Option<T>,
    waiters: Vec<Owner>,
}

impl<T> Clone for Event<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T> Default for Event<T> {
    fn default() -> Self {
        Self(Rc::new(RefCell::new(EventState {
            value: None,
            waiters: Vec::new(),
        })))
    }
}

impl<T: Clone> Event<T> {
    /// It happened. Whoever waits is polled in the root.
    pub fn settle(&self, runtime: &Runtime, value: T) {
        let mut state = self.0.borrow_mut();
        if state.value.is_none() {
            state.value = Some(value);
            runtime.ready.borrow_mut().extend(state.waiters.drain(..));
            runtime.wake();
        }
    }

    /// Whether nobody but the holder of this one knows of it.
    pub fn is_abandoned(&self) -> bool {
        Rc::strong_count(&self.0) == 1
    }

    /// What happened, if it has.
    pub fn value(&self) -> Option<T> {
        self.0.borrow().value.clone()
    }

    /// Waits until it happened, or until `deadline` (milliseconds since 1970): then `None`.
    pub async fn wait(&self, runtime: &Rc<Runtime>, deadline: u64) -> Option<T> {
        if self.value().is_none() && runtime.is_crowded() {
            return None;
        }
        let _waiting = Waiting::new(runtime);
        std::future::poll_fn(|_| {
            if let Some(value) = self.value() {
                return Poll::Ready(Some(value));
            }
            if runtime.host.now_ms() >= deadline {
                return Poll::Ready(None);
            }
            if let Some(owner) = runtime.polling.borrow().clone() {
                self.0.borrow_mut().waiters.push(owner.clone());
                runtime.arm(deadline, owner);
            }
            Poll::Pending
        })
        .await
    }
}

/// Counts a waiter for as long as it waits; a stream that is destroyed drops it.
struct Waiting(Option<Rc<Runtime>>);

impl Waiting {
    fn new(runtime: &Rc<Runtime>) -> Self {
        let stream = matches!(&*runtime.polling.borrow(), Some(Owner::Stream(_)));
        Self(stream.then(|| {
            runtime.waiting.set(runtime.waiting.get() + 1);
            runtime.clone()
        }))
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(runtime) = &self.0 {
            runtime.waiting.set(runtime.waiting.get().saturating_sub(1));
        }
    }
}
