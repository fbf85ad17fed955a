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

use crate::answer::Answer;
use crate::event::Event;
use crate::flow::Flow;
use crate::host::{Call, Host, HostError, Level};
use crate::http::path_without_query;
use crate::metrics::Metrics;

/// A future of a stream or a task. Boxed, because it must not move while it waits.
pub type Story<T> = Pin<Box<dyn Future<Output = T>>>;

/// A part of a story as a function of its own. The compiler makes one function of all that is awaited in
/// one place, and the time that V8 takes for a function grows faster than its length. `#[inline(never)]`
/// on what reads configurations is there for the same reason.
pub fn part<'a, T>(part: impl Future<Output = T> + 'a) -> Pin<Box<dyn Future<Output = T> + 'a>> {
    Box::pin(part)
}

/// How often deadlines are looked at while something waits, in milliseconds. A deadline is met at
/// most this much late.
const TICK_MS: u64 = 50;

/// How many are polled in one callback. Envoy carries out what they ask for behind it, each inside the
/// callback that the one before led to: three hundred at once exhaust the VM's stack.
const AT_ONCE: usize = 16;

/// How long a call that could not be sent waits before it is tried again, in milliseconds.
const RESOLVING_MS: u64 = 20;

/// Streams that may wait for the root at once, in one worker. Beyond it a request is refused with
/// 503, so that a queue that does not answer cannot fill the memory of the proxy.
pub const MAX_WAITING: usize = 512;

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
    metrics: Metrics,
    ready_path: RefCell<Option<String>>,
    /// Probes that wait for what they have fetched.
    pub(crate) probes: Cell<usize>,
}

/// Who waits.
#[derive(Clone)]
pub(crate) enum Owner {
    Stream(Weak<Flow>),
    Task(Rc<Task>),
}

/// A root's story.
pub(crate) struct Task(RefCell<Option<Story<()>>>);

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
            metrics: Metrics::new(filter),
            ready_path: RefCell::default(),
            probes: Cell::new(0),
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
        // Without randomness the name may be another worker's, whose queue then has both; the first to
        // register finds that streams of its own wait for their deadlines.
        let _ = self.host.random(&mut bytes);
        let mut name = String::from("lockgate-");
        crate::encoding::push_hex(&mut name, &bytes);
        self.queue.set(self.host.register_queue(&name));
    }

    /// Says at which path the filter tells whether it is ready, where it does.
    pub fn tell_ready_at(&self, path: Option<String>) {
        self.ready_path.replace(path);
    }

    /// Whether a request's target is that path.
    pub(crate) fn asks_whether_ready(&self, target: &str) -> bool {
        self.ready_path.borrow().as_deref().is_some_and(|path| path_without_query(target) == path)
    }

    /// Has the root begin what was spawned while it was configured.
    pub fn start(&self) {
        if !self.ready.borrow().is_empty() {
            self.wake();
        }
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
        let give_up = self.host.now_ms() + call.timeout_ms;
        let token = loop {
            match self.host.dispatch(&call) {
                Ok(token) => break token,
                // Envoy drops a call with a body while its host's name is being resolved, and resolves it
                // all the same.
                Err(HostError::Internal) if self.host.now_ms() + RESOLVING_MS < give_up => {
                    self.sleep(self.host.now_ms() + RESOLVING_MS).await;
                }
                Err(_) => {
                    let mut line = String::from("lockgate call not sent: the cluster is missing or full: ");
                    line.push_str(&call.cluster);
                    self.host.log(Level::Error, &line);
                    return Answer::none();
                }
            }
        };
        self.calls.borrow_mut().push((token, event.clone()));
        // The proxy's own deadline ends a call, so this one only guards against a lost answer.
        let deadline = give_up + call.timeout_ms + 1_000;
        event.wait(self, deadline).await.unwrap_or_else(Answer::none)
    }

    /// Has the root tell a story, for a stream that waits for its end until `deadline` (ms since 1970).
    /// The story goes on without the stream, should that be gone by then.
    pub async fn in_root<T: Clone + 'static>(
        self: &Rc<Self>,
        story: impl Future<Output = T> + 'static,
        deadline: u64,
    ) -> Option<T> {
        let (event, runtime) = (Event::default(), self.clone());
        let settled = event.clone();
        self.spawn(Box::pin(async move {
            let value = story.await;
            settled.settle(&runtime, value);
        }));
        event.wait(self, deadline).await
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
        self.metrics.count(&*self.host, parts);
    }

    /// Records milliseconds in the histogram of that name.
    pub fn record_ms(&self, parts: &[&'static str], ms: u64) {
        self.metrics.record_ms(&*self.host, parts, ms);
    }

    /// Defines a counter, so that it is reported as zero before it first counts.
    pub fn define_counter(&self, parts: &[&'static str]) {
        self.metrics.define_counter(&*self.host, parts);
    }

    /// The root's queue has something.
    pub fn on_queue_ready(&self, queue: u32) {
        // Whoever wakes this root waits for it to be awake, so there is one item, and this is its callback.
        self.host.dequeue(queue);
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
        // What is settled from here on is polled below, so it needs no wake-up.
        self.in_root.set(true);
        event.settle(self, Answer::read(&*self.host, headers, body));
        self.run();
    }

    /// Polls everyone whose event came, a few at a time. Only in the root's callbacks.
    fn run(&self) {
        self.in_root.set(true);
        for _ in 0..AT_ONCE {
            let Some(owner) = self.ready.borrow_mut().pop_front() else {
                break;
            };
            self.poll(owner);
        }
        self.in_root.set(false);
        if !self.ready.borrow().is_empty() {
            self.wake();
        }
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
            && let Some(queue) = self.queue.get()
            && !self.woken.replace(true)
        {
            self.host.enqueue(queue);
        }
    }

    /// Whose story is being polled.
    pub(crate) fn polled(&self) -> Option<Owner> {
        self.polling.borrow().clone()
    }

    /// Has the owners polled, in the root.
    pub(crate) fn ready(&self, owners: impl Iterator<Item = Owner>) {
        self.ready.borrow_mut().extend(owners);
        self.wake();
    }

    /// A stream begins (`true`) or ends to wait.
    pub(crate) fn count_waiting(&self, begins: bool) {
        let waiting = self.waiting.get();
        self.waiting.set(if begins { waiting + 1 } else { waiting.saturating_sub(1) });
    }

    /// Has the owner polled when `deadline` has passed. A task may live for ever: woken by a deadline of an earlier wait,
    /// it must not be entered again for this one, or it is woken twice as often from wait to wait.
    pub(crate) fn arm(&self, deadline: u64, owner: Owner) {
        let mut deadlines = self.deadlines.borrow_mut();
        let same = deadlines.iter().filter(|(other, _)| *other == deadline).map(|(_, owner)| owner);
        if !owner.is_among(same) {
            deadlines.push((deadline, owner));
        }
        drop(deadlines);
        if !self.ticking.replace(true) {
            self.host.set_tick(TICK_MS);
        }
    }
}

/// Counts its holder for as long as it lives; a stream that is destroyed drops it.
pub(crate) struct Counted<'a>(&'a Cell<usize>);

impl<'a> Counted<'a> {
    pub(crate) fn new(count: &'a Cell<usize>) -> Self {
        count.set(count.get() + 1);
        Self(count)
    }
}

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

impl Owner {
    pub(crate) fn is_waiting(&self) -> bool {
        match self {
            Owner::Stream(flow) => flow.upgrade().is_some_and(|flow| flow.is_waiting()),
            Owner::Task(task) => task.0.borrow().is_some(),
        }
    }

    /// Whether it is a task, and there already. Streams are many, wait a few times and end.
    pub(crate) fn is_among<'a>(&self, mut others: impl Iterator<Item = &'a Self>) -> bool {
        let Self::Task(task) = self else { return false };
        others.any(|other| matches!(other, Self::Task(other) if Rc::ptr_eq(task, other)))
    }
}
